() => {
  if (window.tmBegin) return;
  // One sound at a time on the whole page, Gradio's own included, also of elements that are in no document:
  // whatever begins has what sounded before paused. A thing that sounds is an element, or has `pause()` as one.
  let sounding = null;
  window.tmBegin = (thing) => {
    const before = sounding;
    sounding = thing;
    if (before && before !== thing) before.pause();
  };
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    if (!this.tmTogether) window.tmBegin(this);  // of several that sound together, one thing has begun
    return play.call(this);
  };
  document.addEventListener("play", (event) => window.tmBegin(event.target), true);  // by its own controls

  // Every button with data-sound, a path that the server offers, plays it.
  const sound = (window.tmSound = new Audio());
  let playing = null;
  const show = (button, on) => button?.setAttribute("aria-pressed", String(on));
  const stop = () => { sound.pause(); show(playing, false); playing = null; };
  const fail = () => { if (playing) playing.dataset.said = playing.dataset.failed; stop(); };
  const address = (path) => `${window.gradio_config?.root ?? ""}/gradio_api/file=${path.split("/").map(encodeURIComponent).join("/")}`;
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-sound]");
    if (!button) return;
    event.preventDefault();
    const same = button === playing;
    stop();
    if (same) return;
    delete button.dataset.said;
    playing = button;
    show(button, true);
    sound.src = address(button.dataset.sound);
    sound.play().catch((error) => { if (error.name !== "AbortError" && playing === button) fail(); });
  });
  sound.addEventListener("ended", stop);
  // It comes late: another button may play already.
  sound.addEventListener("pause", () => { if (sound.paused) stop(); });
}
