element.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-do]");
    if (button) trigger("submit", {does: button.dataset.do, job: button.dataset.job});
});
