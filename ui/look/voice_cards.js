// Voices as radio buttons on cards: the value is the id of the chosen one, the property cards the HTML of all.
const voices = () => [...element.querySelectorAll("input[type=radio]")];
const words = (text) => text.toLocaleLowerCase().split(/\s+/).filter(Boolean);
const show = () => {
  voices().forEach((voice) => { voice.checked = voice.value === props.value; });
  const wanted = words(element.querySelector("input[type=search]")?.value ?? "");
  element.querySelectorAll(".tm-voice").forEach((card) => {
    const found = card.textContent.toLocaleLowerCase();
    card.hidden = !wanted.every((word) => found.includes(word));
  });
};
element.addEventListener("change", (event) => {
  if (event.target.type !== "radio") return;
  props.value = event.target.value;
  trigger("input");
});
element.addEventListener("input", (event) => { if (event.target.type === "search") show(); });
// Another tab may have changed the list: it is read again when a person comes to it.
let read = 0;
const renew = () => { if (Date.now() - read > 3000) { read = Date.now(); trigger("focus"); } };
element.addEventListener("focusin", (event) => { if (!element.contains(event.relatedTarget)) renew(); });
element.addEventListener("pointerenter", renew);
// All of them by their keys: a name in quotation marks here is an event to Gradio.
watch(Object.keys(props), show);
show();
