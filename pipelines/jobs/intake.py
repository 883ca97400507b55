"""What a person asks for, checked before it becomes a job or a voice: by page, programs and command line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.job_spec import CONSENT, SpeechOptions, check_settings, check_training, full_names, gpus_of
from pipelines.jobs.outcome import require_training
from pipelines.jobs.service import Jobs
from pipelines.monitoring import MACHINE
from pipelines.settings import Settings
from pipelines.speech.synthesisers import speakers
from pipelines.speech.texts import typed
from pipelines.store.records import Caller, Row, checked_name, checked_settings
from pipelines.voices.library import Library
from pipelines.weights import fetch_pretrained, fetch_separator, separator_installed, weight_store
from rvc.checked import read_settings
from rvc.errors import CheckpointError, ConfigError, NotAllowedError
from rvc.steps import result_of
from rvc.training.settings import require_gpus

CLUSTER_GPUS = 8  # of a training, unless MAX_GPUS says another number: a cluster may grow
# Of an upload, where it is not called as its job.
PURPOSES = {"preprocessing": "training", "conversion": "target", "speech": "text", "cover": "song"}


@dataclass(frozen=True, kw_only=True)
class Intake:
    """The way in to the jobs and the voices of one data folder."""

    settings: Settings
    jobs: Jobs  # checks the owner of every row itself

    @property
    def library(self) -> Library:
        """The voices; they check the owner too."""
        return self.jobs.library

    def submit(self, caller: Caller, kind: str, job_id: str, settings: Row | None, **voice: str) -> Row:
        """Start a job on an upload; a training not against the owner's will. Returns the job's row.

        The setting "consent": true says that the caller may use the voice, and is kept on its card.
        """
        settings = self._checked(caller, kind, settings)
        if kind == "training":
            self.jobs.reviews.require_enough(caller, job_id)
        if kind == "cover":
            source = self.jobs.get(caller, job_id)
            if source["type"] == "cover" and len(source["files"]) == 1:
                self._require_separator(caller, voice["model_id"])
        return self.jobs.submit(caller, kind, job_id, settings=settings, **voice)

    def submit_batch(self, caller: Caller, job_ids: list[str], settings: Row | None, model_id: str) -> Row:
        """Start to convert all recordings of some uploads; returns the job's row."""
        settings = self._checked(caller, "batch", settings)
        return self.jobs.submit_batch(caller, job_ids, model_id=model_id, settings=settings)

    def send_and_submit(
        self, caller: Caller, files: list[tuple[Path, str]], kind: str, settings: Row | None, **voice: str
    ) -> Row:
        """Take in recordings and start a job on them; when that is refused, nothing of them is kept.

        kind: The type of the job, or "lines" for a batch that speaks each line of a text file.
        """
        settings = self._checked(caller, "speech" if kind == "lines" else kind, settings)
        if kind == "cover" and len(files) == 1:
            self._require_separator(caller, voice["model_id"])
        uploaded = self.jobs.upload(caller, files, PURPOSES.get(kind, kind))
        try:
            job_type = "batch" if kind == "lines" else kind
            return self.jobs.submit(caller, job_type, uploaded["id"], settings=settings, **voice)
        except BaseException:
            self.jobs.remove(caller, uploaded["id"], purge=True)
            raise

    def say(self, caller: Caller, text: object, settings: Row | None, model_id: str) -> Row:
        """Start to speak a text in a voice, as `send_and_submit`."""
        with typed(text) as files:
            return self.send_and_submit(caller, files, "speech", settings, model_id=model_id)

    def _checked(self, caller: Caller, kind: str, settings: Row | None) -> Row:
        """Refuse what the job would refuse a minute later; return its settings, consent as it is kept."""
        if kind == "training":
            require_training(self.settings, settings.get("engine") if isinstance(settings, dict) else None)
        if isinstance(settings, dict):
            if kind == "training":
                user = caller.user_id if self.settings.auth_file else None
                settings = full_names(_with_consent(settings, user))
            check_settings(kind, settings)  # before JSON has made null of what is no number
            if (asked := gpus_of(kind, settings)) > 1:
                require_gpus(asked, self._most_gpus())
            if kind == "training" and self.settings.hf_hub_offline:  # what is not here cannot come later
                result_of(fetch_pretrained(check_training(settings), weight_store(self.settings)))
        checked = checked_settings(settings)
        if kind == "speech":
            speakers(read_settings(SpeechOptions, checked))
        return checked

    def _most_gpus(self) -> int:
        """Return over how many GPUs a training may be spread: 1 without any, for it would take all memory."""
        if self.settings.max_gpus or self.settings.ray_address:
            return self.settings.max_gpus or CLUSTER_GPUS
        return max(len(MACHINE.gpus()), 1)

    def _require_separator(self, caller: Caller, model_id: str) -> None:
        """Refuse a song in one file where nothing can take its vocals out, nor ever will."""
        self.library.get(caller, model_id)  # a voice that there is not is the greater fault
        if self.settings.hf_hub_offline or not separator_installed():  # what is not here cannot come later
            result_of(fetch_separator(weight_store(self.settings)))

    def packed(self, caller: Caller, model_id: str, form: str) -> Path:
        """Pack a voice ("bundle", or "rvc" for other RVC programs) and return the zip, kept for a day."""
        self.library.get(caller, model_id)
        self.jobs.limits.take("starts", caller)
        if form not in ("bundle", "rvc"):
            raise ConfigError(
                f"There is no format {str(form)[:40]!r}; export the voice in the format 'bundle' or 'rvc'."
            )
        pack = self.library.export_rvc if form == "rvc" else self.library.export_bundle
        return pack(caller, model_id)

    def import_voice(self, caller: Caller, files: list[tuple[Path, str]], name: str | None) -> Row:
        """Import a voice, a zip or a .pth and maybe its .index, under a name or that of the files."""
        limit = self.settings.max_voice_file_mb
        sizes = [path.stat().st_size for path, _ in files]
        for (_, called), size in zip(files, sizes, strict=True):
            if size / 1e6 > limit:
                raise CheckpointError(
                    f"{called} has {size / 1e6:.4g} MB; import files of at most {limit:g} MB "
                    "(a voice can do without its index)."
                )
        self.jobs.limits.take("uploads", caller)
        self.jobs.quota.require(caller, sum(sizes))
        with self.jobs.quota.room(caller) as spend:
            return self.library.import_voice(caller, [path for path, _ in files], name, spend)


def _with_consent(settings: Row, user: str | None) -> Row:
    """Return a training's settings with what was stated, when and by whom, in place of "consent": true.

    That is the setting "stated_by", else the user of a login.
    """
    stated = {name: value for name, value in settings.items() if name != "stated_by"}
    by = settings.get("stated_by") or user
    if "consent" not in stated:
        return stated
    if stated["consent"] is not True:
        raise NotAllowedError(
            "A voice is only trained with its owner's permission; when you have it, send the setting "
            f'"consent": true, which says: {CONSENT}.'
        )
    given_at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    consent = {"statement": CONSENT, "given_at": given_at}
    return stated | {"consent": consent | ({"stated_by": checked_name(by, "person")} if by else {})}
