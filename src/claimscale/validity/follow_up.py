"""Who left before the outcome could come, who died first, and who went elsewhere."""

from __future__ import annotations

import numpy as np

from claimscale.validity.finding import Finding, Ints, finding, percent
from claimscale.validity.survival import (
    CENSORED,
    DEATH,
    OUTCOME,
    aalen_johansen_risk,
    ipcw_risk,
    kaplan_meier_risk,
)

RELATIVE = 0.1
"""Two estimates of one risk that differ by a tenth are not the same answer."""
LEAST_EVENTS = 10
ONE_HOSPITAL = 0.5
"""If most patients are seen in one hospital only, absence of a code there is no absence of the disease."""
STRATA = 3


def censoring(time: Ints, kind: Ints, contacts: Ints, window: int) -> Finding:
    """How much of the risk is missed because patients leave before the window ends?

    `time` int [n], days from the index to the outcome, death or last observation; `kind` int [n]: 1
    outcome, 2 death, 0 censored; `contacts` int [n], how often each was seen before; `window` days.
    Warns if the naive risk (cases over all) is a tenth below Kaplan-Meier's, or below that weighted by
    censoring within thirds of contacts; or if these two differ by a tenth: those who leave are then others.
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
    if event.sum() >= LEAST_EVENTS:
        if max(km, ipcw) > naive * (1 + RELATIVE):
            problems.append(
                f"{percent(censored)} leave before the window ends: the risk of {percent(naive)} is "
                f"{percent(max(km, ipcw))} if that is reckoned with"
            )
        if abs(ipcw - km) > RELATIVE * km:
            problems.append("Those who leave differ in risk from those who stay, by how often they were seen")
    clean = f"Leaving early changes the risk little ({percent(naive)} naive, {percent(km)} Kaplan-Meier)"
    return finding("censoring", problems, clean, evidence)


def competing_death(time: Ints, kind: Ints, window: int) -> Finding:
    """Is the risk overstated by treating deaths as if the outcome could still come?

    Warns if 1 - Kaplan-Meier is a tenth above Aalen-Johansen's cumulative incidence and ten patients or more
    died (Austin, Lee and Fine, Circulation 2016;133:601).
    """
    deaths = int(((kind == DEATH) & (time <= window)).sum())
    km = kaplan_meier_risk(time, kind == OUTCOME, window)
    incidence = aalen_johansen_risk(time, kind, window)
    evidence = {"deaths": float(deaths), "one_minus_kaplan_meier": km, "aalen_johansen": incidence}
    problems = []
    if deaths >= LEAST_EVENTS and km > incidence * (1 + RELATIVE):
        problems.append(
            f"{deaths:,} die before the outcome could come: 1 - Kaplan-Meier says {percent(km)}, with death "
            f"as a competing end it is {percent(incidence)}"
        )
    clean = (
        "No death is recorded, so none can be reckoned with"
        if not deaths
        else "Deaths change the risk little"
    )
    return finding("competing_death", problems, clean, evidence)


def visibility(hospitals: Ints) -> Finding:
    """Is a patient seen elsewhere, too?

    `hospitals` int [n], in how many each patient was seen; 0 where the source names none. Warns if more
    than half of those with a named hospital were seen in one only: a negative is then 'no event seen here'.
    """
    told = hospitals > 0
    single = float((hospitals[told] == 1).mean()) if told.any() else float("nan")
    evidence = {
        "one_hospital_share": single,
        "hospital_known_share": float(told.mean()) if len(told) else 0.0,
    }
    problems = []
    if told.any() and single > ONE_HOSPITAL:
        problems.append(
            f"{percent(single)} of patients are seen in one hospital only: without an event means no event "
            "seen here"
        )
    clean = "Most patients are seen in several hospitals" if told.any() else "The source names no hospitals"
    return finding("visibility", problems, clean, evidence)
