// The list of slices: the sound of one is asked for, and what comes back is played here.
const heard = new Map(); // by id of a slice, where its sound is served
const audio = new Audio();
let playing = null; // the id of the slice that is heard, or is waited for
let turning = false; // whether another page was asked for: its first row gets the focus
let loaded = null; // the id of the slice whose sound `audio` has

const rowOf = (id) => [...element.querySelectorAll("li[data-id]")].find((row) => row.dataset.id === id);

function mark() {
  for (const row of element.querySelectorAll("li[data-id]")) {
    const on = row.dataset.id === playing;
    row.toggleAttribute("data-playing", on);
    const button = row.querySelector(".tm-hear");
    button.textContent = on ? "❚❚" : "▶";
    button.setAttribute("aria-label", on ? button.dataset.stop : button.dataset.play);
    const share = on && loaded === playing && audio.duration ? audio.currentTime / audio.duration : 0;
    row.querySelector("rect").style.width = 100 * share + "%";
  }
}

function stop() {
  playing = null;
  audio.pause();
  mark();
}

function play(id) {
  if (playing === id) return stop();
  stop();
  playing = id;
  mark();
  if (heard.has(id)) start(id);
  else {
    trigger("act", { act: "play", id });
    setTimeout(() => playing === id && loaded !== id && stop(), 20000); // it was refused
  }
}

function start(id) {
  if (playing !== id) return; // another was pressed meanwhile
  loaded = id;
  audio.src = heard.get(id);
  audio.play().catch(() => { heard.delete(id); stop(); });
}

audio.addEventListener("timeupdate", mark);
audio.addEventListener("ended", stop);
// Something else has begun to sound. It comes late: another slice may be played already, or waited for.
audio.addEventListener("pause", () => { if (audio.paused && playing === loaded) stop(); });

// Gradio takes every quoted name in here for an event, and an event for what it would send: so not quoted.
watch(Object.keys({ sound: 0 }), () => {
  const sound = props.sound;
  if (!sound || !sound.id) return;
  if (sound.file && sound.file.url) {
    heard.set(sound.id, sound.file.url);
    start(sound.id);
  } else if (playing === sound.id) stop();
});
watch("value", () => {
  if (playing && !rowOf(playing)) stop();
  mark();
  if (turning) element.querySelector("li[data-id]")?.focus();
  turning = false;
});

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  turning = button.dataset.act === "page";
  if (button.matches(".tm-hear")) play(button.closest("li").dataset.id);
});

element.addEventListener("keydown", (event) => {
  const row = event.target.closest("li[data-id]");
  if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
  const onRow = event.target === row;
  if (event.key === " " && onRow) play(row.dataset.id);
  else if (event.key.toLowerCase() === "r") row.querySelector(".tm-turn").click();
  else if (event.key === "ArrowDown" && row.nextElementSibling) row.nextElementSibling.focus();
  else if (event.key === "ArrowUp" && row.previousElementSibling) row.previousElementSibling.focus();
  else return;
  event.preventDefault();
});
