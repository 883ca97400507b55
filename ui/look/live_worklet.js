// In the browser's audio thread: portions of 10 ms of the microphone go out, what comes back is played in time.
// It begins to play a little (slack) after the first sound has come. When there is nothing to play it fades out, counts a
// gap, and begins again in the same way; when more waits than is needed, for seconds, it leaves the surplus out.
const FADE = 128;
class TmLive extends AudioWorkletProcessor {
  constructor({ processorOptions: { slack } }) {
    super();
    this.portion = new Int16Array(Math.round(sampleRate / 100));
    this.filled = 0;
    this.slack = Math.round(slack * sampleRate);
    this.queue = [];
    this.at = 0; // in the first of the queue
    this.waiting = 0; // samples in it
    this.begins = null; // frame from which it is played; null: when the next sound has come
    this.level = 0; // 0..1, faded
    this.gaps = 0;
    this.least = Infinity; // that waited, since the last judgement
    this.judged = 0;
    this.peaks = [0, 0];
    this.port.onmessage = ({ data }) => {
      const samples = new Int16Array(data);
      this.queue.push(samples);
      this.waiting += samples.length;
      if (this.begins === null) this.begins = currentFrame + this.slack;
    };
  }
  next() {
    const sample = this.queue[0][this.at++] / 32768;
    this.waiting--;
    if (this.at === this.queue[0].length) { this.queue.shift(); this.at = 0; }
    return sample;
  }
  capture(heard) {
    for (const sample of heard) {
      this.peaks[0] = Math.max(this.peaks[0], Math.abs(sample));
      this.portion[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === this.portion.length) {
        const sent = this.portion.slice().buffer;
        this.port.postMessage({ sent }, [sent]);
        this.filled = 0;
      }
    }
  }
  play(given) {
    const playing = this.begins !== null && currentFrame >= this.begins;
    if (playing && this.waiting < given.length) { // not in time
      this.begins = null;
      this.gaps++;
    }
    for (let n = 0; n < given.length; n++) {
      const sample = playing && this.waiting ? this.next() : 0;
      const goal = playing && this.begins !== null ? 1 : 0;
      this.level += Math.max(-1 / FADE, Math.min(1 / FADE, goal - this.level));
      given[n] = sample * this.level;
      this.peaks[1] = Math.max(this.peaks[1], Math.abs(given[n]));
    }
    if (!playing || this.begins === null) return;
    this.least = Math.min(this.least, this.waiting);
    if (currentFrame - this.judged > 2 * sampleRate) {
      const surplus = this.least - this.slack;
      if (surplus > 0.008 * sampleRate) this.leaveOut(surplus, given);
      this.least = Infinity;
      this.judged = currentFrame;
    }
  }
  leaveOut(surplus, given) { // the last quantum goes over into what comes behind the surplus
    for (let n = 0; n < surplus && this.waiting > given.length; n++) this.next();
    for (let n = 0; n < given.length && this.waiting; n++) {
      const rise = n / given.length;
      given[n] += rise * (this.next() * this.level - given[n]);
    }
  }
  process([heard], [[given]]) {
    if (heard.length) this.capture(heard[0]);
    if (given) this.play(given);
    if (currentFrame % 2048 < 128) {
      this.port.postMessage({ peaks: this.peaks, gaps: this.gaps, waiting: this.waiting / sampleRate });
      this.peaks = [0, 0];
    }
    return true;
  }
}
registerProcessor("tm-live", TmLive);
