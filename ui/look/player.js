// The player of two tracks on one clock; run by gr.HTML once, with `element`, `props` and `watch`.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const root = part("player"), playButton = part("play"), seek = part("seek");
const trackButtons = [...element.querySelectorAll("[data-track]")];
const canvases = [...element.querySelectorAll("canvas")];
const BARS = 480, FADE_S = 0.008;
let texts = {}, deck = null, chosen = 0, gains = [1, 1], peaks = [null, null], loading = 0;

// Short recordings lie decoded in memory: both start at one moment of one clock, and a switch is a change of gain.
class Buffers {
    constructor(buffers) {
        this.buffers = buffers;
        this.seconds = Math.max(...buffers.map((buffer) => buffer.duration));
        this.at = 0;
        this.playing = false;
    }
    play() {
        if (!this.context) {
            this.context = new AudioContext();
            this.gains = this.buffers.map(() => this.context.createGain());
            this.gains.forEach((gain) => gain.connect(this.context.destination));
        }
        this.context.resume();
        if (this.at > this.seconds - 0.1) this.at = 0;
        const when = this.context.currentTime + 0.02;
        this.sources = this.buffers.map((buffer, number) => {
            const source = this.context.createBufferSource();
            source.buffer = buffer;
            source.connect(this.gains[number]);
            source.start(when, this.at);
            return source;
        });
        const longest = this.buffers.findIndex((buffer) => buffer.duration === this.seconds);
        this.sources[longest].onended = () => { this.pause(); this.at = this.seconds; changed(); };
        this.began = when - this.at;
        this.playing = true;
        this.mix(true);
    }
    pause() {
        if (!this.playing) return;
        this.at = this.time();
        this.playing = false;
        this.sources.forEach((source) => { source.onended = null; source.stop(); });
    }
    time() {
        return this.playing ? Math.min(Math.max(this.context.currentTime - this.began, 0), this.seconds) : this.at;
    }
    times() { return this.buffers.map(() => this.time()); }
    seek(seconds) {
        const playing = this.playing;
        this.pause();
        this.at = seconds;
        if (playing) this.play();
    }
    mix(atOnce) {
        this.gains?.forEach(({gain}, number) => {
            const level = number === chosen ? gains[number] : 0;
            if (atOnce) gain.value = level;
            else gain.setTargetAtTime(level, this.context.currentTime, FADE_S);
        });
    }
    close() { this.pause(); this.context?.close(); }
}

// Long ones, and what cannot be decoded here, play from files, one of them unheard; it is drawn to the other's time.
class Files {
    constructor(urls) {
        this.players = urls.map((url) => new Audio(url));
        this.players.forEach((player) => {
            player.preload = "metadata";
            player.tmTogether = true;
            player.onloadedmetadata = () => changed();
            player.onerror = () => say(texts.failed);
        });
    }
    get heard() { return this.players[chosen]; }
    get seconds() { return Math.max(0, ...this.players.map(({duration}) => duration || 0)); }
    get playing() { return this.players.some((player) => !player.paused && !player.ended); }
    play() {
        this.mix();
        this.align();
        this.players.forEach((player) => player.play().catch(() => changed()));
        this.players.forEach((player) => { player.onended = () => changed(); });
        this.timer ??= setInterval(() => this.align(), 500);
    }
    pause() {
        this.players.forEach((player) => player.pause());
        clearInterval(this.timer);
        this.timer = null;
    }
    align() {
        const now = this.heard.currentTime;
        this.players.forEach((player) => {
            if (Math.abs(player.currentTime - now) > 0.03) player.currentTime = Math.min(now, player.duration || now);
        });
    }
    time() { return this.heard.currentTime; }
    times() { return this.players.map((player) => player.currentTime); }
    seek(seconds) { this.players.forEach((player) => { player.currentTime = seconds; }); }
    mix() { this.players.forEach((player, number) => { player.volume = number === chosen ? gains[number] : 0; }); }
    close() { this.pause(); this.players.forEach((player) => { player.src = ""; }); }
}

// The mean level of what is not silence, so that pauses do not count.
function loudness(buffer) {
    const wav = buffer.getChannelData(0), hop = Math.round(buffer.sampleRate / 20), powers = [];
    for (let start = 0; start < wav.length; start += hop) {
        let sum = 0;
        const end = Math.min(start + hop, wav.length);
        for (let i = start; i < end; i++) sum += wav[i] * wav[i];
        powers.push(sum / (end - start));
    }
    const floor = powers.reduce((most, power) => Math.max(most, power), 0) * 1e-4;
    const loud = powers.filter((power) => power > floor);
    return loud.length ? Math.sqrt(loud.reduce((sum, power) => sum + power, 0) / loud.length) : 0;
}

function peaksOf(buffer, seconds) {
    const wav = buffer.getChannelData(0), perBar = (seconds * buffer.sampleRate) / BARS;
    return Array.from({length: BARS}, (_, bar) => {
        let most = 0;
        const end = Math.min((bar + 1) * perBar, wav.length);
        for (let i = Math.floor(bar * perBar); i < end; i += 3) most = Math.max(most, Math.abs(wav[i]));
        return most;
    });
}

function draw() {
    const now = deck && deck.seconds ? deck.time() / deck.seconds : 0;
    canvases.forEach((canvas, number) => {
        const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
        if (!width) return;
        canvas.width = width * scale;
        canvas.height = height * scale;
        const pen = canvas.getContext("2d"), loudest = Math.max(...(peaks[number] || [0]), 0.05);
        pen.scale(scale, scale);
        pen.fillStyle = getComputedStyle(canvas).color;
        const bars = Math.floor(width / 3);
        for (let bar = 0; bar < bars; bar++) {
            const from = Math.floor((bar / bars) * BARS), to = Math.max(from + 1, Math.floor(((bar + 1) / bars) * BARS));
            const peak = peaks[number] ? Math.max(...peaks[number].slice(from, to)) / loudest : 0;
            const tall = Math.max(2, peak * (height - 2));
            pen.globalAlpha = bar / bars < now ? 1 : 0.38;
            pen.fillRect(bar * 3, (height - tall) / 2, 2, tall);
        }
    });
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function say(text) { part("said").textContent = text || ""; }

// Show where the player stands, and go on showing it while it plays.
function changed() {
    if (!element.isConnected) { deck?.close(); return; }
    const playing = Boolean(deck?.playing), now = deck ? deck.time() : 0, all = deck ? deck.seconds : 0;
    root.classList.toggle("tm-playing", playing);
    playButton.disabled = !deck;
    playButton.setAttribute("aria-label", (playing ? texts.pause : texts.play) || "");
    seek.disabled = !deck;
    seek.max = all || 1;
    seek.step = (all || 1) / 200;
    seek.value = now;
    seek.setAttribute("aria-valuetext", `${clock(now)} / ${clock(all)}`);
    part("time").textContent = `${clock(now)} / ${clock(all)}`;
    trackButtons.forEach((button, number) => button.setAttribute("aria-pressed", String(number === chosen)));
    draw();
    if (playing) requestAnimationFrame(changed);
}

// What is paused when something else begins to sound; see playing.js.
const sounding = {pause: () => { if (deck?.playing) { deck.pause(); changed(); } }};

function toggle() {
    if (!deck) return;
    if (deck.playing) deck.pause();
    else {
        window.tmBegin?.(sounding);
        deck.play();
    }
    changed();
}

function choose(number) {
    chosen = number;
    deck?.mix();
    changed();
}

function matchLevels() {
    gains = [1, 1];
    if (part("level").checked && deck?.levels) {
        const softest = Math.min(...deck.levels.filter((level) => level > 0));
        gains = deck.levels.map((level) => (level > 0 ? Math.min(1, softest / level) : 1));
    }
    deck?.mix();
}

async function decoded(url) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`${answer.status}`);
    // It needs no gesture of the visitor, as a context that may sound does.
    return new OfflineAudioContext(1, 1, 44100).decodeAudioData(await answer.arrayBuffer());
}

async function load(value) {
    const mine = ++loading, {tracks} = value;
    deck?.close();
    deck = null;
    peaks = [null, null];
    texts = value.texts;
    chosen = value.chosen;
    root.setAttribute("aria-label", value.label);
    trackButtons.forEach((button, number) => {
        button.querySelector("span").textContent = tracks[number].name;
        button.setAttribute("aria-label", `${"AB"[number]}: ${tracks[number].name}`);
    });
    for (const name of ["level-text", "keys", "download-text"]) part(name).textContent = texts[name];
    seek.setAttribute("aria-label", texts.seek);
    part("download").href = tracks[1].file.url;
    part("download").download = tracks[1].file.orig_name;
    part("level-row").hidden = true;
    say(texts.loading);
    changed();
    if (value.play) comeIntoView();
    let made = null;
    if (Math.max(...tracks.map(({seconds}) => seconds)) <= value.most_buffered_s) {
        try {
            const buffers = await Promise.all(tracks.map(({file}) => decoded(file.url)));
            made = new Buffers(buffers);
            made.levels = buffers.map(loudness);
            if (mine === loading) peaks = buffers.map((buffer) => peaksOf(buffer, made.seconds));
        } catch { /* played from its file then */ }
    }
    if (mine !== loading) return;
    deck = made || new Files(tracks.map(({file}) => file.url));
    part("level-row").hidden = !deck.levels;
    root.dataset.deck = made ? "buffers" : "files";
    say("");
    matchLevels();
    changed();
    if (value.play && comeIntoView()) toggle();  // its button can be pressed now, and so takes the focus
}

// Not while somebody types elsewhere, nor on a tab that is not shown.
function comeIntoView() {
    const busy = document.activeElement?.matches("textarea, input:not([type=range], [type=radio], [type=checkbox])");
    if (busy || !root.offsetParent) return false;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    root.scrollIntoView({behavior: still ? "auto" : "smooth", block: "center"});
    (playButton.disabled ? root : playButton).focus({preventScroll: true});
    return true;
}

playButton.addEventListener("click", toggle);
seek.addEventListener("input", () => { deck?.seek(Number(seek.value)); changed(); });
part("level").addEventListener("change", matchLevels);
trackButtons.forEach((button, number) => button.addEventListener("click", () => choose(number)));
canvases.forEach((canvas, number) => canvas.addEventListener("click", (event) => {
    choose(number);
    deck?.seek((event.offsetX / canvas.clientWidth) * deck.seconds);
    changed();
}));
root.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === "a" || key === "b") choose(key === "a" ? 0 : 1);
    // Space presses what has the focus, as everywhere; a track that is chosen already has nothing else to do.
    else if (key === " " && event.target.matches('.tm-player, input[type=range], [aria-pressed="true"]')) toggle();
    else return;
    event.preventDefault();
});
root.addEventListener("keyup", (event) => {
    if (event.key === " " && event.target.matches('[aria-pressed="true"]')) event.preventDefault();
});
new ResizeObserver(draw).observe(root);
root.times = () => deck?.times();  // for who wants to know whether both are at one moment
root.gains = () => gains;
watch("value", () => { if (props.value) load(props.value); });
if (props.value) load(props.value);
