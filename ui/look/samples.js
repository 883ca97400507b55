// The grid of a training's samples: what sounds goes on when the grid is drawn anew.
const sound = new Audio();
let file = null;

function show() {
    element.querySelectorAll(".tm-play").forEach((button) => {
        const plays = button.dataset.file === file && !sound.paused;
        if (plays) delete button.dataset.said;
        const said = plays ? button.dataset.pause : button.dataset.play;
        button.setAttribute("aria-pressed", String(plays));
        button.setAttribute("aria-label", `${said}: ${button.dataset.title}`);
        button.textContent = said;
    });
}

["play", "pause", "ended"].forEach((name) => sound.addEventListener(name, show));
element.addEventListener("click", (event) => {
    const play = event.target.closest(".tm-play");
    if (!play) return;
    if (play.dataset.file === file && !sound.paused) {
        sound.pause();
        return;
    }
    if (play.dataset.file !== file) {
        file = play.dataset.file;
        sound.src = `${window.gradio_config?.root ?? ""}/gradio_api/file=${file}`;
    }
    sound.play().catch((error) => {
        if (error.name === "AbortError") return;
        if (play.dataset.file === file) file = null;  // it is fetched anew when it is pressed again
        play.dataset.said = play.dataset.failed;
        show();
    });
});
watch('value', show);
