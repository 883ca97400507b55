"""The report on a set of recordings, for people."""
from typing import Any
from ui.panels import card, paragraph
def report_card(report: dict[str, Any]) -> str:
    """Return."""
    return '<div class="tm-report">'+card("Report", paragraph(str(report)))+"</div>"
