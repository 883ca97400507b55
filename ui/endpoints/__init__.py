"""The named endpoints: what gradio_client, curl and other programs call."""

from __future__ import annotations

from ui.endpoints.account import AccountEndpoints
from ui.endpoints.followed import FollowedEndpoints
from ui.endpoints.jobs import JobEndpoints
from ui.endpoints.presets import PresetEndpoints
from ui.endpoints.recordings import RecordingEndpoints
from ui.endpoints.review import ReviewEndpoints
from ui.endpoints.samples import SampleEndpoints
from ui.endpoints.speech import SpeechEndpoints
from ui.endpoints.voices import VoiceEndpoints
from ui.server.services import Services

# In the order in which the API page shows them.
SUBJECTS = (
    RecordingEndpoints,
    ReviewEndpoints,
    JobEndpoints,
    SpeechEndpoints,
    SampleEndpoints,
    VoiceEndpoints,
    PresetEndpoints,
    AccountEndpoints,
    FollowedEndpoints,
)


def add_endpoints(services: Services) -> None:
    """Add all endpoints to the page that is being built."""
    for subject in SUBJECTS:
        subject(services).add()
