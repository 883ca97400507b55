// How loud the microphone is while it records. Gradio's recorder tells nobody of its stream; the browser's does.
const EVERY_MS = 100;
const HEARD_MS = 3000; // what a level is taken of
const FIRST_MS = 1500; // in which nothing is said yet
const STAYS_MS = 2000; // how long it is too loud after a moment that was, and a sentence stays at least
const LOWEST_DB = -60; // at which the bar is empty
const level = element.querySelector(".tm-level"), filled = level.querySelector("i");
const said = element.querySelector("[role=status]");
const CLIPPED = Number(level.dataset.clipped), QUIET_DB = Number(level.dataset.quiet);
const wordsFor = (state) => element.querySelector(`[data-state="${state}"]`)?.textContent ?? "";

// What is to be said of the levels (dB) of the last seconds; as the take is judged when it is done.
const judged = (levels, clippedAt, now) => {
    if (now - clippedAt < STAYS_MS) return "loud";
    if (levels.length * EVERY_MS < FIRST_MS) return null;
    const sorted = [...levels].sort((one, other) => one - other);
    const speech = sorted[Math.floor(0.9 * (sorted.length - 1))];
    return speech < QUIET_DB ? "quiet" : "good";
};

const listen = (recorder) => {
    if (!element.offsetParent) return; // another tab's recorder
    const context = new AudioContext(), analyser = context.createAnalyser();
    context.createMediaStreamSource(recorder.stream).connect(analyser);
    context.resume();
    const samples = new Float32Array(analyser.fftSize), levels = [];
    let clippedAt = -Infinity, state = null, changed = -Infinity;
    const look = () => {
        if (recorder.state !== "recording" || context.state !== "running") return;
        analyser.getFloatTimeDomainData(samples);
        const now = performance.now();
        if (samples.some((sample) => Math.abs(sample) >= CLIPPED)) clippedAt = now;
        const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
        levels.push(10 * Math.log10(Math.max(power, 1e-10)));
        if (levels.length * EVERY_MS > HEARD_MS) levels.shift();
        filled.style.width = `${100 * Math.min(1, Math.max(0, 1 - levels.at(-1) / LOWEST_DB))}%`;
        const found = judged(levels, clippedAt, now);
        if (found === state || now - changed < STAYS_MS) return;
        [state, changed] = [found, now];
        level.dataset.is = state ?? "";
        said.textContent = wordsFor(state);
    };
    const timer = setInterval(look, EVERY_MS);
    const stop = () => {
        clearInterval(timer);
        context.close();
        level.hidden = true;
        said.textContent = "";
    };
    level.hidden = false;
    level.dataset.is = "";
    filled.style.width = "0";
    for (const end of ["stop", "error"]) recorder.addEventListener(end, stop, {once: true});
};

if (!window.timbre.recorded) {
    const start = MediaRecorder.prototype.start;
    MediaRecorder.prototype.start = function (...given) {
        try {
            window.timbre.recorded(this);
        } catch (error) {
            console.warn(error); // without a meter one can record all the same
        }
        return start.apply(this, given);
    };
}
window.timbre.recorded = listen;
