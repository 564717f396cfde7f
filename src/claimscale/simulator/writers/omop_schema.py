"""Columns of OMOP CDM 5.4, and the standard concepts of simulated claims."""

from __future__ import annotations

import pyarrow as pa

COLUMNS = {
    "person": """person_id gender_concept_id year_of_birth month_of_birth day_of_birth birth_datetime
        race_concept_id ethnicity_concept_id location_id provider_id care_site_id person_source_value
        gender_source_value gender_source_concept_id race_source_value race_source_concept_id
        ethnicity_source_value ethnicity_source_concept_id""",
    "observation_period": """observation_period_id person_id observation_period_start_date
        observation_period_end_date period_type_concept_id""",
    "visit_occurrence": """visit_occurrence_id person_id visit_concept_id visit_start_date
        visit_start_datetime visit_end_date visit_end_datetime visit_type_concept_id provider_id care_site_id
        visit_source_value visit_source_concept_id admitted_from_concept_id admitted_from_source_value
        discharged_to_concept_id discharged_to_source_value preceding_visit_occurrence_id""",
    "condition_occurrence": """condition_occurrence_id person_id condition_concept_id condition_start_date
        condition_start_datetime condition_end_date condition_end_datetime condition_type_concept_id
        condition_status_concept_id stop_reason provider_id visit_occurrence_id visit_detail_id
        condition_source_value condition_source_concept_id condition_status_source_value""",
    "drug_exposure": """drug_exposure_id person_id drug_concept_id drug_exposure_start_date
        drug_exposure_start_datetime drug_exposure_end_date drug_exposure_end_datetime verbatim_end_date
        drug_type_concept_id stop_reason refills quantity days_supply sig route_concept_id lot_number
        provider_id visit_occurrence_id visit_detail_id drug_source_value drug_source_concept_id
        route_source_value dose_unit_source_value""",
    "procedure_occurrence": """procedure_occurrence_id person_id procedure_concept_id procedure_date
        procedure_datetime procedure_end_date procedure_end_datetime procedure_type_concept_id
        modifier_concept_id quantity provider_id visit_occurrence_id visit_detail_id procedure_source_value
        procedure_source_concept_id modifier_source_value""",
    "death": """person_id death_date death_datetime death_type_concept_id cause_concept_id cause_source_value
        cause_source_concept_id""",
    "care_site": """care_site_id care_site_name place_of_service_concept_id location_id
        care_site_source_value place_of_service_source_value""",
    "concept": """concept_id concept_name domain_id vocabulary_id concept_class_id standard_concept
        concept_code valid_start_date valid_end_date invalid_reason""",
    "concept_relationship": """concept_id_1 concept_id_2 relationship_id valid_start_date valid_end_date
        invalid_reason""",
    "concept_ancestor": """ancestor_concept_id descendant_concept_id min_levels_of_separation
        max_levels_of_separation""",
    "vocabulary": """vocabulary_id vocabulary_name vocabulary_reference vocabulary_version
        vocabulary_concept_id""",
}

TEXT_IDS = {"domain_id", "vocabulary_id", "concept_class_id", "relationship_id"}
NUMBERS = {
    "year_of_birth",
    "month_of_birth",
    "day_of_birth",
    "refills",
    "days_supply",
    "concept_id_1",
    "concept_id_2",
}
NUMBERS |= {"min_levels_of_separation", "max_levels_of_separation"}


def _type(table: str, name: str) -> pa.DataType:
    """The specified type, which follows from the name."""
    if name == "quantity":
        return pa.float64() if table == "drug_exposure" else pa.int64()
    if name in NUMBERS or (name.endswith("_id") and name not in TEXT_IDS):
        return pa.int64()
    if name.endswith("_date"):
        return pa.date32()
    return pa.timestamp("us") if name.endswith("_datetime") else pa.string()


SCHEMAS = {
    table: pa.schema([(name, _type(table, name)) for name in names.split()])
    for table, names in COLUMNS.items()
}

MALE, FEMALE = 8507, 8532
INPATIENT, OUTPATIENT = 9201, 9202
STANDARD_CONCEPTS = (
    (MALE, "MALE", "Gender", "Gender", "Gender", "S", "M"),
    (FEMALE, "FEMALE", "Gender", "Gender", "Gender", "S", "F"),
    (INPATIENT, "Inpatient Visit", "Visit", "Visit", "Visit", "S", "IP"),
    (OUTPATIENT, "Outpatient Visit", "Visit", "Visit", "Visit", "S", "OP"),
)
