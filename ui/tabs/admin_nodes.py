"""The machines of a cluster on the Admin page: who computes what, what was lost, which gets no more jobs."""

from __future__ import annotations

from html import escape

import gradio as gr

from pipelines.store.records import Row, Rows
from ui.look.html import card, chip, hidden_button
from ui.look.language import tr
from ui.server.services import QUIET, Answer, Services, admin_of, as_gr_error
from ui.tabs.admin_cards import FILTER, searchable


class NodesPart:
    """There only while jobs run in a cluster; every listener checks who calls."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.table = gr.HTML(js_on_load=FILTER, visible=False, elem_id="admin-nodes", padding=False)
        self.node = gr.Dropdown([], label="Machine of the cluster", visible=False, elem_id="admin-node")
        with gr.Row():
            self.drain_button = hidden_button("Give it no more jobs", "admin-drain", variant="stop")
            self.open_button = hidden_button("Give it jobs again", "admin-undrain")
        self.drawn = [self.table, self.node, self.drain_button, self.open_button]
        self.drain_button.click(self.drain, self.node, self.drawn, **QUIET)
        self.open_button.click(self.undrain, self.node, self.drawn, **QUIET)

    def show(self) -> Answer:
        """Return what an admin sees of the machines."""
        cluster = self._services.jobs.dispatcher.health()["cluster"]
        if cluster is None:
            return {one: gr.update(visible=False) for one in self.drawn}
        nodes = [node for node in cluster["nodes"] if node["alive"] or node["failures"]]
        choices = [(name_of(node), node["id"]) for node in nodes if node["alive"]]
        return {
            self.table: gr.HTML(nodes_card(nodes), visible=True),
            self.node: gr.Dropdown(choices, visible=bool(choices)),
            self.drain_button: gr.Button(visible=bool(choices)),
            self.open_button: gr.Button(visible=bool(choices)),
        }

    def drain(self, node: str | None, request: gr.Request) -> Answer:
        return self._set(node, request, on=True)

    def undrain(self, node: str | None, request: gr.Request) -> Answer:
        return self._set(node, request, on=False)

    def _set(self, node: str | None, request: gr.Request, *, on: bool) -> Answer:
        with as_gr_error():
            self._services.jobs.drain(admin_of(self._services, request), str(node or ""), on=on)
            return self.show()


def name_of(node: Row) -> str:
    """Return what a machine is called; several of one name and address are told apart by their ids."""
    return f"{node['name'] or node['address']} ({node['id'][:8]})"


def nodes_card(nodes: Rows) -> str:
    title = tr("Machines of the cluster")
    columns = (tr("Machine"), tr("State"), tr("Devices"), tr("Jobs"), tr("Lost workers"))
    return card(title, searchable("admin-nodes", title, columns, [_line(node) for node in nodes]))


def _line(node: Row) -> str:
    state = chip(tr("Works"), "good")
    if not node["alive"]:
        state = chip(tr("Gone"), "bad")
    elif node["draining"]:
        state = chip(tr("Gets no more jobs"), "warn")
    jobs = ", ".join(str(job)[:8] for job in node["jobs"])
    return (
        f'<tr title="{escape(node["id"])}"><th scope="row">{escape(name_of(node))}</th><td>{state}</td>'
        f"<td>{len(node['devices'])}</td><td>{escape(jobs)}</td><td>{node['failures']}</td></tr>"
    )
