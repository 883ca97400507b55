const shown = () => {
    const field = element.querySelector("input.tm-filter");
    if (!field) return;
    const wanted = field.value.trim().toLowerCase();
    let count = 0;
    for (const row of element.querySelectorAll("tbody tr")) {
        row.hidden = !`${row.textContent} ${row.title}`.toLowerCase().includes(wanted);
        count += !row.hidden;
    }
    const said = element.querySelector("[data-found]");
    if (said) said.textContent = wanted ? said.dataset.found.replace("{count}", count) : "";
};
element.addEventListener("input", shown);
watch("value", shown);
