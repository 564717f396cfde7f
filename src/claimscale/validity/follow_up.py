"""Follow-up: censoring, competing risk of death, single-site visibility."""

from __future__ import annotations

import numpy as np

from claimscale.findings import finding
from claimscale.validity.check_result import CheckResult, Ints, check_result
from claimscale.validity.survival import (
    CENSORED,
    DEATH,
    OUTCOME,
    aalen_johansen_risk,
    ipcw_risk,
    kaplan_meier_risk,
)

MAX_DIFFERENCE = 0.1
"""Relative difference from which two estimates of a risk disagree."""
MIN_EVENTS = 10
MAX_CENSORED = 0.5
"""Share of patients who leave early, from which no correction helps: the data may end before the window."""
MAX_SINGLE_SITE = 0.5
STRATA = 3


def censoring(time: Ints, kind: Ints, contacts: Ints, window: int) -> CheckResult:
    """Bias of the naive risk by patients who leave before the window ends.

    `time` int [n], days from the index date to the outcome, death or last observation; `kind` int [n]: 1
    outcome, 2 death, 0 censored; `contacts` int [n], number of earlier contacts; `window` in days. Warns if
    the risk is a tenth above the naive one (cases over patients) by Kaplan-Meier or by inverse censoring
    weights within thirds of contacts; if these two differ by a tenth, which means that censoring is
    informative; or if most patients leave early.
    """
    event = kind == OUTCOME
    early = (kind == CENSORED) & (time < window)
    naive = float((event & (time <= window)).mean()) if len(time) else float("nan")
    km = kaplan_meier_risk(time, event, window)
    bounds = np.quantile(contacts, np.arange(1, STRATA) / STRATA) if len(contacts) else np.zeros(0)
    ipcw = ipcw_risk(time, event, np.searchsorted(bounds, contacts, side="left"), window)
    censored = float(early.mean()) if len(time) else 0.0
    evidence = {
        "naive_risk": naive,
        "kaplan_meier_risk": km,
        "ipcw_risk": ipcw,
        "censored_share": censored,
        "outcomes": float(event.sum()),
    }
    problems = []
    if censored > MAX_CENSORED:
        problems.append(finding("validity.mostly_censored", share=censored))
    if event.sum() >= MIN_EVENTS:
        if max(km, ipcw) > naive * (1 + MAX_DIFFERENCE):
            corrected = max(km, ipcw)
            problems.append(finding("validity.censored", share=censored, naive=naive, corrected=corrected))
        if abs(ipcw - km) > MAX_DIFFERENCE * km:
            problems.append(finding("validity.informative_censoring"))
    clean = finding("validity.censoring_small", naive=naive, kaplan_meier=km)
    return check_result("censoring", problems, clean, evidence)


def competing_risk(time: Ints, kind: Ints, window: int) -> CheckResult:
    """Bias of the risk if deaths count as censored.

    Warns if 1 - Kaplan-Meier is a tenth above Aalen-Johansen's cumulative incidence and at least ten patients
    died (Austin, Lee and Fine, Circulation 2016;133:601).
    """
    deaths = int(((kind == DEATH) & (time <= window)).sum())
    km = kaplan_meier_risk(time, kind == OUTCOME, window)
    incidence = aalen_johansen_risk(time, kind, window)
    evidence = {"deaths": float(deaths), "one_minus_kaplan_meier": km, "aalen_johansen": incidence}
    problems = []
    if deaths >= MIN_EVENTS and km > incidence * (1 + MAX_DIFFERENCE):
        problems.append(finding("validity.competing_death", n=deaths, kaplan_meier=km, incidence=incidence))
    clean = finding("validity.deaths_small") if deaths else finding("validity.no_deaths")
    return check_result("competing_risk", problems, clean, evidence)


def single_site_visibility(hospitals: Ints) -> CheckResult:
    """Share of patients whose care at other hospitals is not seen.

    `hospitals` int [n], number of hospitals of each patient; 0 where the source names none. Warns if more
    than half of the patients with a named hospital have only one: a negative then means 'no event seen
    there'.
    """
    named = hospitals > 0
    single = float((hospitals[named] == 1).mean()) if named.any() else float("nan")
    evidence = {
        "one_hospital_share": single,
        "hospital_known_share": float(named.mean()) if len(named) else 0.0,
    }
    problems = []
    if named.any() and single > MAX_SINGLE_SITE:
        problems.append(finding("validity.single_site", share=single))
    clean = finding("validity.several_sites") if named.any() else finding("validity.no_hospitals")
    return check_result("single_site_visibility", problems, clean, evidence)
