"""The published side of the calibration page: figures with sources, verdicts, and tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from claimscale.config.base import Settings
from claimscale.errors import BadInput

BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
"""What stands between them on the page is written anew each time."""
EXPLAINED_FACTOR = 2.0
"""A note on definitions excuses no more than this ratio either way."""
Cell = str | float


class Figure(Settings):
    title: str
    value: float
    unit: Literal["%", "drugs", "years", "days"]
    source: str
    codes: tuple[str, ...] = Field(default=(), strict=False)
    tolerance: float = 0.2
    explained: Mapping[Literal["higher", "lower"], str] = Field(default_factory=dict)


class Source(Settings):
    name: str
    reference: str


class StandardPopulation(Settings):
    source: str
    shares: dict[int, float]


class PatientsByAge(Settings):
    source: str
    men: list[float]
    women: list[float]
    explained: str


class ReducedKidneyFunction(Settings):
    source: str
    conditions: list[str]
    men: dict[int, float]
    women: dict[int, float]
    explained: dict[Literal["higher", "lower"], str]


class Published(Settings):
    """The whole of `published.yaml`, which says what its fields mean."""

    sources: dict[str, Source]
    standard_population: StandardPopulation
    patients_by_age: PatientsByAge
    reduced_kidney_function: ReducedKidneyFunction
    compared: dict[str, str]
    figures: dict[str, Figure]


class Simulated(NamedTuple):
    """A simulated figure in its published unit; `margin` is half its 95 % interval, where it has one."""

    value: float
    crude: float | None = None
    margin: float | None = None


class Outcome(NamedTuple):
    """What a run found: figures to compare, figures for the record alone, and sections of the page."""

    compared: dict[str, Simulated]
    record: dict[str, float]
    sections: dict[str, str]


class Verdict(NamedTuple):
    """Agreement in words; `text` holds `{}` where the letter of the note goes, if there is one."""

    text: str
    note: str | None = None


def judge(simulated: float, figure: Figure) -> Verdict:
    """Whether a simulated figure agrees, and else whether the published one's note covers the difference."""
    ratio = simulated / figure.value
    if abs(ratio - 1) <= figure.tolerance:
        return Verdict(f"within {100 * figure.tolerance:.0f} %")
    direction = "higher" if ratio > 1 else "lower"
    note = figure.explained.get(direction)
    if note is None:
        return Verdict(f"**{direction}, not explained**")
    if 1 / EXPLAINED_FACTOR <= ratio <= EXPLAINED_FACTOR:
        return Verdict(f"{direction}: {{}}", note)
    return Verdict(f"**{direction} by more than {{}} explains**", note)


def latent_share(shares: Mapping[str, float], published: Mapping[str, Figure]) -> str:
    """The table of latent shares by band, in %, beside the eGFR-based ones."""
    rows: list[list[Cell]] = [
        [band, shares[band], f"{figure.value:g}", shares[band] / figure.value]
        for band, figure in published.items()
    ]
    verdicts = [judge(shares[band], figure) for band, figure in published.items()]
    heads = ["reduced kidney function", "latent, %", "eGFR below 60, published %", "ratio"]
    return table_with_verdicts(heads, rows, verdicts)


def table(heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Markdown; numbers to three digits, those from 1,000 whole."""
    cells = [[cell if isinstance(cell, str) else show(cell) for cell in row] for row in rows]
    rule = ["---"] + ["---:" if isinstance(cell, (int, float)) else "---" for cell in rows[0][1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(heads), rule, *cells])


def table_with_verdicts(
    heads: Sequence[str], rows: Sequence[Sequence[Cell]], verdicts: Sequence[Verdict]
) -> str:
    """The table with a last column of verdicts, and below it each of their notes once, by letter."""
    notes = dict.fromkeys(verdict.note for verdict in verdicts if verdict.note)
    letters = {note: f"({chr(ord('a') + place)})" for place, note in enumerate(notes)}
    last = [verdict.text.format(letters[verdict.note] if verdict.note else "") for verdict in verdicts]
    text = table([*heads, "verdict"], [[*row, cell] for row, cell in zip(rows, last, strict=True)])
    return "\n\n".join([text, *(f"{letter} {note}" for note, letter in letters.items())])


def with_generated(page: str, generated: str) -> str:
    """The page with what stands between its markers replaced. Raises BadInput if it has no such markers."""
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise BadInput(f"--page: the markers {BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"


def comparison(found: Mapping[str, Simulated], names: Sequence[str], published: Published) -> str:
    """The table of some figures; of those with a standardised value that is the one compared."""
    is_standardised = any(found[name].crude is not None for name in names)
    rows, verdicts = [], []
    for name in names:
        figure, (value, crude, margin) = published.figures[name], found[name]
        row = [figure.title, f"{show(value if crude is None else crude)} {figure.unit}"]
        if is_standardised:
            row.append("" if crude is None else f"{show(value)} ± {margin:.2g} {figure.unit}")
        row += [f"{figure.value:g} {figure.unit}", f"{value / figure.value:.2f}"]
        rows.append([*row, published.sources[figure.source].name])
        verdicts.append(judge(value, figure))
    simulated = ["simulated", "standardised"] if is_standardised else ["simulated"]
    return table_with_verdicts(["figure", *simulated, "published", "ratio", "source"], rows, verdicts)


def page_part(found: Outcome, published: Published, command: str, date: str) -> str:
    """All tables of the page, each under what is compared and how."""
    figures = published.figures
    titles = {
        "age": ("Age and sex", ["share_65"]),
        "prevalence": ("One-year prevalence", [name for name in figures if figures[name].source == "okada"]),
        "drugs": ("Drugs of the elderly", [name for name in figures if name.startswith("drugs_")]),
        "pregabalin": ("Pregabalin", [name for name in figures if name.startswith("pregabalin_")]),
        "ingredients": ("Concentration of drugs", [name for name in figures if name.startswith("top_")]),
        "ckd": ("Chronic kidney disease, coded", ["diabetics_ckd"]),
        "reduced": ("Chronic kidney disease, latent", ["coded_share"]),
        "vocabulary": ("Vocabulary and volume", []),
    }
    near = sum(abs(each.value / figures[name].value - 1) <= 0.2 for name, each in found.compared.items())
    parts = [
        f"Made on {date} by `{command}`: {found.record['patients']:,.0f} patients, "
        f"{found.record['hospitals']:,.0f} hospitals, seed {found.record['seed']:.0f}.",
        f"Of {len(found.compared)} figures compared (bands of age apart), {near} lie within 20 % of the "
        "published one. A letter beside the others names the note that says why not; a note excuses no more "
        "than a factor of two.",
    ]
    for name, (title, shown) in titles.items():
        parts.append(f"### {title}")
        if name in published.compared:
            parts.append(published.compared[name])
        if shown:
            parts.append(comparison(found.compared, shown, published))
        if name in found.sections:
            parts.append(found.sections[name])
    sources = [f"- {source.name}: {source.reference}." for source in published.sources.values()]
    return "\n\n".join([*parts, "### Sources", "\n".join(sources)])


def show(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or isinstance(value, int) else f"{value:.3g}"
