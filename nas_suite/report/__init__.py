"""Reports: runs in, one self-contained HTML file out."""

from collections.abc import Sequence
from pathlib import Path

from nas_suite.disk import write_atomic, writing
from nas_suite.report.chart import plotly
from nas_suite.report.page import page
from nas_suite.report.still import still
from nas_suite.report.story import story
from nas_suite.run import Run


def write(runs: Sequence[Run], out: Path) -> Path:
    """Writes a report about runs and all that they came from into the file `out`, which needs nothing but itself to be read."""
    html = render(runs)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, html.encode())
    return out


def render(runs: Sequence[Run]) -> str:
    """The report as HTML."""
    from jinja2 import Environment, PackageLoader

    templates = Environment(
        loader=PackageLoader("nas_suite"), autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = templates.get_template("report.html.j2")
    told = page(story(runs))
    library = script() if any(section.charts for section in told.sections) else ""
    return template.render(page=told, plotly=plotly, still=still, library=library)


def script() -> str:
    """Plotly, which draws charts: several megabytes, so that a page without any goes without it."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("</script", "<\\/script")
