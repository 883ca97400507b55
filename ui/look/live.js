() => {
  // The panel of Live: the microphone through a WebSocket to the voice, and back to the ears. Run once, when the page is opened.
  if (window.tmLive) return;
  window.tmLive = true;
  const RATES = [8000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000];
  const SLACK = { default: 0.03, low: 0.006 };
  const WORKLET = URL.createObjectURL(new Blob([`{{worklet}}`], { type: "text/javascript" }));
  let session = null;
  const panel = () => document.querySelector(".tm-live");
  const part = (name) => panel().querySelector(`[data-live-part="${name}"]`);
  const set = (name) => panel().querySelector(`[data-live-set="${name}"]`);
  const button = (name) => panel().querySelector(`[data-live-do="${name}"]`);
  const sentence = (name) => panel().querySelector(`[data-live-said="${name}"]`).textContent;
  const voice = () => document.querySelector("#live-voice input[type=radio]:checked")?.value;
  const semitones = () => (set("automatic").checked ? null : Number(set("semitones").value) || 0);
  const say = (name) => { panel().dataset.live = name; part("status").textContent = sentence(name); };
  const alarm = (text) => { part("alert").textContent = text; };
  const send = (words) => { if (session?.ready && session.socket.readyState === 1) session.socket.send(JSON.stringify(words)); };

  function buttons() {
    button("start").hidden = Boolean(session);
    button("stop").hidden = !session;
    button("hold").hidden = !session || !set("push").checked;
    set("delay").disabled = Boolean(session);
  }

  function end(name, text) {
    const ended = session;
    session = null;
    ended?.stream?.getTracks().forEach((track) => track.stop());
    ended?.context?.close().catch(() => {});
    if (ended?.socket && ended.socket.readyState < 2) ended.socket.close();
    for (const meter of ["microphone", "voice"]) part(meter).value = 0;
    buttons();
    say(name);
    alarm(text ?? "");
    button("start").focus();
  }

  async function microphone() {
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    try {
      return await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw { NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "missing" }[error.name] ?? "broken";
    }
  }

  async function start() {
    alarm("");
    if (!voice()) return alarm(sentence("unchosen"));
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return alarm(sentence("insecure"));
    window.tmBegin?.({ pause: stop }); // what sounds elsewhere on the page is paused
    const mine = (session = { ready: false });
    buttons();
    say("asking");
    try {
      mine.stream = await microphone();
      mine.context = new AudioContext({ latencyHint: "interactive" });
      if (!RATES.includes(mine.context.sampleRate)) mine.context = new AudioContext({ sampleRate: 48000 });
      await mine.context.audioWorklet.addModule(WORKLET);
    } catch (error) {
      return end("idle", sentence(typeof error === "string" ? error : "broken"));
    }
    if (session !== mine) return mine.stream.getTracks().forEach((track) => track.stop());
    mine.stream.getAudioTracks()[0].onended = () => { if (session === mine) { stop(); alarm(sentence("unplugged")); } };
    say("loading");
    connect(mine);
  }

  function connect(mine) {
    const address = new URL("live", location.href.split(/[?#]/)[0]);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = (mine.socket = new WebSocket(address));
    socket.binaryType = "arraybuffer";
    const delay = set("delay").value;
    const rate_hz = mine.context.sampleRate;
    socket.onopen = () => {
      mine.opened = true;
      socket.send(JSON.stringify({ do: "start", model_id: voice(), rate_hz, delay, semitones: semitones() }));
    };
    socket.onmessage = ({ data }) => {
      if (session !== mine) return;
      if (data instanceof ArrayBuffer) mine.node.port.postMessage(data, [data]);
      else hear(mine, JSON.parse(data), delay);
    };
    socket.onclose = () => { if (session === mine) end("idle", sentence(mine.opened ? "broke" : "refused")); };
  }

  function hear(mine, event, delay) {
    if (event.event === "ready") begin(mine, SLACK[delay]);
    if (event.event === "refused") end("idle", event.message);
    if (event.event === "over") end(event.job_id ? "kept" : "over", event.message);
    if (event.event === "voice") alarm(event.message ?? "");
    if (event.delay_ms) mine.delay_ms = event.delay_ms;
    if (event.event !== "state" || mine.stopping) return;
    say(event.lost_s > mine.lost_s ? "lost" : event.behind ? "behind" : event.calibrated ? "speaking" : "calibrating");
    mine.lost_s = event.lost_s;
    mine.busy_ms = event.busy * event.block_ms;
  }

  function begin(mine, slack) {
    const { context } = mine;
    const options = { numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [1], processorOptions: { slack } };
    mine.node = new AudioWorkletNode(context, "tm-live", options);
    mine.node.port.onmessage = ({ data }) => {
      if (data.sent) { if (mine.socket.readyState === 1 && !mine.stopping) mine.socket.send(data.sent); return; }
      if (session !== mine) return;
      part("microphone").value = data.peaks[0];
      part("voice").value = data.peaks[1];
      part("gaps").textContent = String(data.gaps);
      const devices = (context.baseLatency || 0) + (context.outputLatency || 0.02) + 0.02;
      const all_ms = Math.round((mine.delay_ms ?? 0) + (mine.busy_ms ?? 0) + 1000 * (slack + devices));
      part("delay").textContent = `${all_ms} ms`;
    };
    mine.lost_s = 0;
    mine.ready = true;
    mine.source = context.createMediaStreamSource(mine.stream);
    mine.source.connect(mine.node).connect(context.destination);
    context.resume();
    say("calibrating");
    if (set("bypass").checked) send({ do: "bypass", on: true });
    if (set("push").checked) send({ do: "talk", on: false });
  }

  function stop() {
    const mine = session;
    if (!mine) return;
    if (!mine.ready) return end("idle");
    mine.stopping = true;
    say("stopping");
    send({ do: "stop" });
    mine.source?.disconnect();
    mine.stream.getTracks().forEach((track) => { track.onended = null; track.stop(); });
    setTimeout(() => { if (session === mine) end("over"); }, 20000);
  }

  const talk = (on) => { if (set("push").checked) { button("hold").setAttribute("aria-pressed", String(on)); send({ do: "talk", on }); } };
  const inside = (event, what) => event.target.closest?.(`.tm-live [data-live-${what}]`);
  document.addEventListener("click", (event) => {
    const pressed = inside(event, "do")?.dataset.liveDo;
    if (pressed === "start" && !session) start();
    if (pressed === "stop") stop();
  });
  document.addEventListener("change", (event) => {
    const changed = inside(event, "set")?.dataset.liveSet;
    if (changed === "semitones") set("automatic").checked = false;
    if (changed === "automatic" || changed === "semitones") send({ do: "pitch", semitones: semitones() });
    if (changed === "bypass") send({ do: "bypass", on: set("bypass").checked });
    if (changed === "push") { buttons(); send({ do: "talk", on: !set("push").checked }); }
    if (event.target.closest?.("#live-voice") && event.target.type === "radio") send({ do: "voice", model_id: event.target.value });
  });
  for (const [name, on] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false], ["pointerleave", false]]) {
    document.addEventListener(name, (event) => { if (inside(event, "do")?.dataset.liveDo === "hold") talk(on); }, true);
  }
  for (const [name, on] of [["keydown", true], ["keyup", false]]) {
    document.addEventListener(name, (event) => {
      if (event.code === "Space" && inside(event, "do")?.dataset.liveDo === "hold") { event.preventDefault(); if (!event.repeat) talk(on); }
    });
  }
  const greet = () => (panel() ? say("idle") : setTimeout(greet, 200));
  greet();
}
