const told = () => {
    const button = document.querySelector("#running .toggle-button");
    if (!button) return;
    const list = element.querySelector("[data-count]"), count = list ? list.dataset.count : "";
    const title = element.querySelector("h2")?.textContent ?? "";
    if (count) button.dataset.count = count;
    else delete button.dataset.count;
    button.setAttribute("aria-label", count ? `${title}: ${count}` : title);
    button.setAttribute("aria-expanded", String(button.parentElement.classList.contains("open")));
};
watch("value", told);
told();
document.querySelector("#running .toggle-button")?.addEventListener("click", () => setTimeout(told));
// Whatever may start something: then it is asked for a while what runs. Not by a listener of Gradio's, which
// hears of a press only when all that was there before it has ended.
let woken = 0;
document.addEventListener("click", (event) => {
    if (!event.target.closest?.("button.primary, .tm-starts") || Date.now() - woken < 5000) return;
    woken = Date.now();
    trigger("input");
});
