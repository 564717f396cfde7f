"""The simulated country against published figures of Japan: age, disease, drugs, kidneys, vocabulary.

Simulates claims (or reads event shards made before), compares them with `published.yaml`, prints the tables,
writes them between the markers of `docs/measured/simulator.md`, and `benchmarks/results/calibration.json`.
Run with `make bench NAME=calibration`; for another country, or shards at hand:
`.venv/bin/python benchmarks/calibration.py --patients 6000 --hospitals 8 --seed 42 --events FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import yaml

from claimscale.errors import BadInput
from claimscale.simulator.oracle import prevalent
from claimscale.simulator.population import Population, simulate
from published import (
    Figure,
    Outcome,
    Published,
    Simulated,
    latent_share,
    page_part,
    table,
    with_generated,
)
from record import RESULTS, write_record

HERE = Path(__file__).parent

YEAR = "time >= TIMESTAMP '2021-04-01' AND time < TIMESTAMP '2022-04-01'"
MID_YEAR = "TIMESTAMP '2021-10-01'"
MID_YEAR_MONTH = 53
"""September 2021, counted from April 2017."""
SEXES = ("men", "women")
AGES = 121
PREGABALIN = "ATC//N02BF02"
DIABETES_DRUGS = "ATC//A10"
RANKS = (1, 10, 100, 1000)
KIDNEY_BANDS = (0, 40, 50, 60, 70, 80)


def standardise(seen: np.ndarray, cases: np.ndarray, shares: Mapping[int, float]) -> Simulated:
    """Crude and age-standardised prevalence in %, from persons seen and cases by year of age, [ages].

    `shares` maps the first age of each group, in order, to its weight in %. Raises BadInput for a group
    of which nobody was seen.
    """
    starts = list(shares)
    seen_by_group, cases_by_group = np.add.reduceat(seen, starts), np.add.reduceat(cases, starts)
    if not seen_by_group.all():
        raise BadInput(f"--patients: of an age group from {starts} on nobody was seen in the year")
    weights = np.array(list(shares.values())) / 100
    prevalence = cases_by_group / seen_by_group
    variance = np.sum(weights**2 * prevalence * (1 - prevalence) / seen_by_group)
    return Simulated(
        100 * float(weights @ prevalence),
        crude=100 * float(cases.sum() / seen.sum()),
        margin=196 * float(np.sqrt(variance)),
    )


def connect(shards: Path, scratch: Path) -> duckdb.DuckDBPyConnection:
    """The shards as the view `events`, with `patients`, `seen` in the year, and their codes in the year.

    Raises BadInput if the folder holds no Parquet file that can be read.
    """
    connection = duckdb.connect(config={"memory_limit": "1GB", "temp_directory": str(scratch)})
    connection.execute("SET preserve_insertion_order = false")
    try:
        connection.read_parquet(str(shards / "*.parquet")).create_view("events")
    except duckdb.Error:
        raise BadInput(f"--events: {shards} holds no Parquet file that can be read") from None
    connection.execute("""
        CREATE TABLE patients AS
        SELECT subject_id,
            min(time) FILTER (code = 'MEDS_BIRTH') AS birth,
            bool_or(code = 'SEX//M') AS is_man,
            min(time) FILTER (visit_id IS NOT NULL) AS first_claim,
            max(time) FILTER (visit_id IS NOT NULL) AS last_claim
        FROM events GROUP BY subject_id""")
    # Who was born after the middle of the year is aged 0 in it.
    connection.execute(f"""
        CREATE TABLE seen AS
        SELECT subject_id, is_man, greatest(date_sub('year', birth, {MID_YEAR}), 0) AS age
        FROM patients SEMI JOIN (SELECT DISTINCT subject_id FROM events WHERE visit_id IS NOT NULL AND {YEAR})
        USING (subject_id)""")
    connection.execute(f"""
        CREATE TABLE year_codes AS
        SELECT DISTINCT subject_id, code FROM events
        WHERE {YEAR} AND NOT suspected AND (starts_with(code, 'ICD10//') OR starts_with(code, 'ATC//'))""")
    return connection


def with_codes(prefixes: Sequence[str]) -> str:
    """SQL: the persons with a confirmed code under one of the prefixes in the year, each once."""
    pattern = "|".join(re.escape(prefix) for prefix in prefixes)
    has_code = f"regexp_matches(code, '^({pattern})')"
    return f"SELECT DISTINCT subject_id, 1 AS amount FROM year_codes WHERE {has_code}"


def count_by_age(connection: duckdb.DuckDBPyConnection, cases: str) -> tuple[np.ndarray, np.ndarray]:
    """Persons seen in the year, and cases among them, both float64 [2, AGES], men first.

    `cases` is SQL for `subject_id` and `amount`, what the person counts for, 0 to 1.
    """
    rows = connection.execute(f"""
        SELECT is_man, age, count(*), coalesce(sum(amount), 0)
        FROM seen LEFT JOIN ({cases}) USING (subject_id) GROUP BY ALL""").fetchall()
    seen, amounts = np.zeros((2, AGES)), np.zeros((2, AGES))
    for is_man, age, persons, amount in rows:
        seen[int(not is_man), min(age, AGES - 1)] += persons
        amounts[int(not is_man), min(age, AGES - 1)] += amount
    return seen, amounts


def age_and_sex(connection: duckdb.DuckDBPyConnection, published: Published) -> Outcome:
    seen, _ = count_by_age(connection, "SELECT 0::BIGINT AS subject_id, 0 AS amount WHERE false")
    starts = np.arange(0, 95, 5)
    bands = 100 * np.add.reduceat(seen, starts, axis=1) / seen.sum()
    expected = np.array([published.patients_by_age.men, published.patients_by_age.women])
    ratio, deviation = bands / expected, np.abs(bands - expected)
    names = [f"{start}-{start + 4}" for start in starts[:-1]] + ["90+"]
    rows = [
        [name, *(value for sex in range(2) for value in (bands[sex, i], expected[sex, i], ratio[sex, i]))]
        for i, name in enumerate(names)
    ]
    heads = ["age", *(f"{sex}, {what}" for sex in SEXES for what in ("simulated %", "published %", "ratio"))]
    near = int(np.sum(np.abs(ratio - 1) <= 0.2))
    note = f"{near} of {bands.size} bands are within 20 %; largest deviation {deviation.max():.2f} points."
    if near < bands.size:
        note += " " + published.patients_by_age.explained
    source = published.sources[published.patients_by_age.source].name
    record = {f"age_{sex}_{names[i]}": bands[s, i] for s, sex in enumerate(SEXES) for i in range(len(names))}
    return Outcome(
        {"share_65": Simulated(bands[:, 13:].sum())},
        record | {"patients_seen": seen.sum(), "largest_age_deviation": deviation.max()},
        {"age": f"{table(heads, rows)}\n\nPublished: {source}. {note}"},
    )


def prevalences(connection: duckdb.DuckDBPyConnection, published: Published) -> Outcome:
    compared = {}
    for name, figure in published.figures.items():
        if figure.source == "okada":
            seen, cases = count_by_age(connection, with_codes(figure.codes))
            compared[name] = standardise(seen.sum(0), cases.sum(0), published.standard_population.shares)
    return Outcome(compared, {}, {})


def drugs_per_month(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """Of outpatient claims; the visit id of a stay has a third part."""
    row = connection.execute(f"""
        WITH claims AS (
            SELECT any_value(subject_id) AS subject_id, min(time) AS day, count(DISTINCT code) AS drugs
            FROM events
            WHERE {YEAR} AND starts_with(code, 'ATC//') AND visit_id NOT LIKE '%-%-%' GROUP BY visit_id)
        SELECT avg(drugs), stddev_pop(drugs), 100 * avg((drugs >= 5)::INT), count(*)
        FROM claims JOIN patients USING (subject_id)
        WHERE date_sub('year', birth, day) >= 65""").fetchall()[0]
    if not row[3]:
        raise BadInput("--patients: nobody of 65 years and over has an outpatient drug in the year")
    names = ("drugs_mean", "drugs_deviation", "drugs_five")
    return Outcome({name: Simulated(row[i]) for i, name in enumerate(names)}, {"drug_months_65": row[3]}, {})


def pregabalin(connection: duckdb.DuckDBPyConnection, published: Published) -> Outcome:
    shares = published.standard_population.shares
    monthly = f"""SELECT subject_id, count(DISTINCT month(time)) / 12 AS amount FROM events
        WHERE {YEAR} AND code = '{PREGABALIN}' GROUP BY subject_id"""
    compared = {}
    for name, cases in (("pregabalin_year", with_codes([PREGABALIN])), ("pregabalin_month", monthly)):
        seen, amounts = count_by_age(connection, cases)
        compared[name] = standardise(seen.sum(0), amounts.sum(0), shares)
    row = connection.execute(f"""
        WITH fills AS (SELECT DISTINCT subject_id, time::DATE AS day FROM events WHERE code = '{PREGABALIN}'),
        gaps AS (SELECT *, day - lag(day) OVER earlier > 90 AS begins FROM fills
            WINDOW earlier AS (PARTITION BY subject_id ORDER BY day)),
        episodes AS (SELECT *, count(*) FILTER (begins) OVER earlier AS episode FROM gaps
            WINDOW earlier AS (PARTITION BY subject_id ORDER BY day)),
        users AS (
            SELECT subject_id, min(day) AS first_fill, max(day) - min(day) + 30 AS days
            FROM episodes WHERE episode = 0 GROUP BY subject_id)
        SELECT count(*), avg(date_sub('year', birth, first_fill)), 100 * avg(is_man::INT),
            avg(days), median(days)
        FROM users JOIN patients USING (subject_id)
        WHERE first_fill >= first_claim + INTERVAL 180 DAYS
            AND first_fill < DATE '2022-01-01'""").fetchall()[0]
    if not row[0]:
        raise BadInput("--patients: there is no new user of pregabalin")
    names = ("age", "men", "duration_mean", "duration_median")
    compared |= {f"pregabalin_{name}": Simulated(value) for name, value in zip(names, row[1:], strict=True)}
    return Outcome(compared, {"pregabalin_new_users": row[0]}, {})


def coded_kidneys(connection: duckdb.DuckDBPyConnection, published: Published) -> Outcome:
    """Diagnoses of chronic kidney disease by age, and among diabetics who take drugs for it."""
    coded = with_codes(published.figures["coded_share"].codes)
    seen, cases = (counts.sum(0) for counts in count_by_age(connection, coded))
    groups = np.add.reduceat(seen, KIDNEY_BANDS), np.add.reduceat(cases, KIDNEY_BANDS)
    names = ["under 40", *(f"{start}-{start + 9}" for start in KIDNEY_BANDS[1:-1]), f"{KIDNEY_BANDS[-1]}+"]
    shares = {name: 100 * c / max(n, 1) for name, n, c in zip(names, *groups, strict=True)}
    rows = [[name, int(n), shares[name]] for name, n in zip(names, groups[0], strict=True)]

    treated = with_codes([DIABETES_DRUGS])
    kidney = with_codes(published.figures["diabetics_ckd"].codes)
    both = f"SELECT * FROM ({treated}) SEMI JOIN ({kidney}) USING (subject_id)"
    diabetics, affected = (count_by_age(connection, cases)[1].sum() for cases in (treated, both))
    return Outcome(
        {"diabetics_ckd": Simulated(100 * affected / max(diabetics, 1))},
        {f"coded_ckd_{name.replace(' ', '_')}": share for name, share in shares.items()},
        {"ckd": "Coded prevalence:\n\n" + table(["age", "patients seen", "N18, %"], rows)},
    )


def reduced_kidneys(
    connection: duckdb.DuckDBPyConnection, reduced: np.ndarray, observed: np.ndarray, published: Published
) -> Outcome:
    """Latent reduced kidney function, and the share that is coded.

    `reduced` and `observed` are bool, by subject id from 1: with the latent condition; alive and not lost in
    the month.
    """
    ids = np.flatnonzero(observed) + 1
    connection.register("observed", pa.table({"subject_id": ids, "is_reduced": reduced[observed]}))
    everybody = "SELECT subject_id, 1 AS amount FROM observed"
    latent = "SELECT subject_id, 1 AS amount FROM (FROM observed WHERE is_reduced)"
    coded = with_codes(published.figures["coded_share"].codes)
    _, present = count_by_age(connection, everybody)
    _, affected = count_by_age(connection, latent)
    _, known = count_by_age(connection, f"{latent} SEMI JOIN ({coded}) USING (subject_id)")
    reference = published.reduced_kidney_function
    figures, shares = {}, {}
    for sex, expected in enumerate((reference.men, reference.women)):
        for start, value in expected.items():
            band, ages = f"{SEXES[sex]} {start}-{start + 4}", slice(start, start + 5)
            figures[band] = Figure(
                title=band, value=value, unit="%", source=reference.source, explained=reference.explained
            )
            shares[band] = 100 * affected[sex, ages].sum() / max(present[sex, ages].sum(), 1)
    source = published.sources[reference.source].name
    return Outcome(
        {"coded_share": Simulated(100 * known[:, 40:75].sum() / max(affected[:, 40:75].sum(), 1))},
        {f"reduced_{band.replace(' ', '_')}": share for band, share in shares.items()},
        {"reduced": f"{latent_share(shares, figures)}\n\nPublished: {source}."},
    )


def vocabulary(connection: duckdb.DuckDBPyConnection, patients: int) -> Outcome:
    """Codes by frequency: how many are seen, how the drugs concentrate, how much is suspected."""
    few = max(patients // 10, 1)
    rows = connection.execute(
        """SELECT code, count(*), count(*) FILTER (suspected), bool_or(subject_id <= ?)
        FROM events WHERE visit_id IS NOT NULL GROUP BY code ORDER BY count(*) DESC, code""",
        [few],
    ).fetchall()
    systems: dict[str, list[tuple[int, int, bool]]] = {}
    for code, count, suspected, is_early in rows:
        systems.setdefault(code.partition("//")[0], []).append((count, suspected, is_early))
    drugs = np.array([count for count, _, _ in systems.get("ATC", [])])
    if not drugs.size or "ICD10" not in systems:
        raise BadInput("--events: there is no drug or no diagnosis")
    compared = {f"top_{n}": Simulated(100 * drugs[:n].sum() / drugs.sum()) for n in (10, 50, 200)}
    seen = [[name, sum(e for _, _, e in codes), len(codes)] for name, codes in sorted(systems.items())]
    seen.append(["all", sum(row[1] for row in seen), sum(row[2] for row in seen)])
    heads = ["system", f"codes of the first {few:,} patients", f"of all {patients:,}"]

    events = sum(count for _, count, _, _ in rows)
    ranked = {"all": [row[1] for row in rows]}
    for name in ("ICD10", "ATC", "KUBUN"):
        ranked[name] = [count for count, _, _ in systems.get(name, [])]
    ranks = [
        [f"rank {rank:,}", *(1000 * c[rank - 1] / sum(c) if rank <= len(c) else "-" for c in ranked.values())]
        for rank in RANKS
    ]
    claims, years = connection.execute("""
        SELECT (SELECT count(*) FROM (SELECT DISTINCT visit_id FROM events WHERE visit_id IS NOT NULL)),
            (SELECT sum(date_diff('month', first_claim, last_claim) + 1) / 12 FROM patients)""").fetchall()[0]
    diagnoses = sum(count for count, _, _ in systems["ICD10"])
    facts = {
        "events_per_patient": events / patients,
        "claims_per_patient_year": claims / years,
        "suspected_share": 100 * sum(s for _, s, _ in systems["ICD10"]) / diagnoses,
    }
    text = (
        f"{table(heads, seen)}\n\nRows per 1,000 rows of the same system, by the rank of the code:\n\n"
        f"{table(['', *ranked], ranks)}\n\n{facts['events_per_patient']:.0f} events per patient, "
        f"{facts['claims_per_patient_year']:.1f} claims per patient and year (first to last claim); "
        f"{facts['suspected_share']:.1f} % of the diagnosis rows are suspected."
    )
    sizes = {f"codes_{row[0]}_{size}": row[1 + i] for row in seen for i, size in enumerate(("tenth", "all"))}
    zipf = {f"rank_{rank}_per_1000": row[1] for rank, row in zip(RANKS, ranks, strict=True) if row[1] != "-"}
    return Outcome(compared, {**facts, **sizes, **zipf}, {"vocabulary": text})


def measure(events: Path, scratch: Path, arguments: argparse.Namespace, published: Published) -> Outcome:
    """All figures of the event shards in the folder. Raises BadInput if they are of more patients."""
    with connect(events, scratch) as connection:
        most, people = connection.execute("SELECT max(subject_id), count(*) FROM patients").fetchall()[0]
        if (most, people) != (arguments.patients, arguments.patients):
            raise BadInput(f"--patients: the events are of {people} patients, not {arguments.patients}")
        population = population_of(arguments)
        conditions = published.reduced_kidney_function.conditions
        reduced, observed = zip(
            *(prevalent(population, condition, MID_YEAR_MONTH) for condition in conditions), strict=True
        )
        parts = [
            age_and_sex(connection, published),
            prevalences(connection, published),
            drugs_per_month(connection),
            pregabalin(connection, published),
            coded_kidneys(connection, published),
            reduced_kidneys(connection, np.logical_or.reduce(reduced), observed[0], published),
            vocabulary(connection, arguments.patients),
        ]
    size: dict[str, float] = {
        "patients": population.patients,
        "hospitals": population.hospitals,
        "seed": population.seed,
    }
    found = Outcome({}, size, {})
    for part in parts:
        found.compared.update(part.compared)
        found.record.update(part.record)
        found.sections.update(part.sections)
    return found


def population_of(arguments: argparse.Namespace) -> Population:
    return Population(arguments.patients, arguments.hospitals, arguments.seed)


def run(arguments: argparse.Namespace) -> None:
    published = Published.model_validate(yaml.safe_load((HERE / "published.yaml").read_text("utf-8")))
    try:
        page = arguments.page.read_text("utf-8")
    except OSError as error:
        raise BadInput(f"--page: {arguments.page} cannot be read ({error.strerror})") from None
    with_generated(page, "")  # a page without markers fails before the simulation
    with tempfile.TemporaryDirectory() as folder:
        events = arguments.events
        if events is None:
            simulate(Path(folder) / "country", population_of(arguments))
            events = Path(folder) / "country" / "events"
        found = measure(events, Path(folder) / "spill", arguments, published)
    figures = dict(found.record)
    for name, simulated in found.compared.items():
        figures[name] = simulated.value
        if simulated.crude is not None:
            figures[f"{name}_crude"] = simulated.crude
    write_record("calibration", figures)
    record = json.loads((RESULTS / "calibration.json").read_text("utf-8"))
    generated = page_part(found, published, record["command"], record["date"])
    print(generated)
    arguments.page.write_text(with_generated(page, generated), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--patients", type=int, default=60_000)
    parser.add_argument("--hospitals", type=int, default=100)
    parser.add_argument("--seed", type=int, default=2022)
    parser.add_argument(
        "--events", type=Path, help="event shards of that country, made before; otherwise it is simulated"
    )
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "measured" / "simulator.md")
    try:
        run(parser.parse_args())
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(BadInput.exit_code)


if __name__ == "__main__":
    main()
