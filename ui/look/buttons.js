// A press on a button of our HTML is an event of its component, with what the button's data say.
const EVENTS = ["hear", "compare", "again", "fetch", "remove", "undo", "choose", "cancel", "keep", "act"];
let pressed = null;
element.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-event]");
    if (!button || !EVENTS.includes(button.dataset.event)) return;
    pressed = {...button.dataset};
    trigger(pressed.event, pressed);
});
// Who pressed a button that is gone since, goes on at the next one of the same job.
watch("value", () => {
    if (pressed?.job && document.activeElement === document.body) {
        element.querySelector(`button[data-job="${CSS.escape(pressed.job)}"]`)?.focus();
    }
    pressed = null;
});
