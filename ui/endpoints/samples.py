"""What a training sounds like on its way; keep one of its states, or train on."""

# ruff: noqa: D417 -- `caller` comes from the request; the docstrings are for those who call from outside
from __future__ import annotations

from gradio import FileData

from pipelines.store.records import Caller, Row, Rows
from ui.endpoints.registration import Endpoints, endpoint
from ui.server.published import publish_file
from ui.server.services import validate_id


class SampleEndpoints(Endpoints):
    @endpoint()
    def list_samples(self, caller: Caller, job_id: str) -> Rows:
        """List the states of a training that can be heard and kept, the oldest first; 12 at most.

        Args:
            job_id: A training of yours, also one that runs.

        Returns:
            For each its step, distance_db (how far it is from recordings that it never learned from; lower is
            better), and best, newest and kept (whether it is the voice that the training has made).
        """
        return self._services.samples.list(caller, validate_id(job_id, "job"))

    @endpoint()
    def download_sample(self, caller: Caller, job_id: str, step: int = 0) -> FileData:
        """Download a sentence that is kept out of the training, as a state of the voice says it.

        Args:
            job_id: A training of yours.
            step: From list_samples; 0 for the sentence as it was recorded.

        Returns:
            A WAV file.
        """
        path = self._services.samples.path(caller, validate_id(job_id, "job"), step)
        return FileData(path=publish_file(path, f"step {step}" if step else "recording"))

    @endpoint()
    def keep_checkpoint(self, caller: Caller, job_id: str, step: int) -> Row:
        """Make a state of a training a voice.

        Of a completed training it takes the place of the voice that was made; another can be kept later. Of
        one that runs or was stopped it becomes a further voice, called after the step; the training goes on.

        Args:
            job_id: A training of yours.
            step: From list_samples.

        Returns:
            The voice's row.
        """
        return self._services.samples.keep(caller, validate_id(job_id, "job"), step)

    @endpoint()
    def train_on(self, caller: Caller, job_id: str, steps: int | None = None) -> Row:
        """Let a completed training go on from where it is; answers at once.

        Its voice stays until the longer training has ended, and is then replaced by the best of all states;
        cancel_job leaves it as it is. A voice that was made without training (0 steps) is replaced by every
        better state on the way, so it gets better while it is used.
        With the engine rvc the result is that of a training that was asked for all steps at first; the
        built-in one plans its learning rate over all steps, and follows the new plan from here on.

        Args:
            job_id: A completed training of yours.
            steps: How many more than it has taken; without it 200, or, of a voice that was made without
                training, as many as suit its recordings.

        Returns:
            The job's row.
        """
        return self._services.samples.train_on(caller, validate_id(job_id, "job"), steps)
