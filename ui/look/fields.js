// Shows at a field what is missing or wrong with it: the note's text is the value, the field's id a property.
const field = () => document.getElementById(props.field);
const sync = () => {
  const box = field(), wrong = Boolean(props.value);
  if (!box) return;
  box.classList.toggle("tm-field-missing", wrong);
  box.querySelectorAll("input, textarea, button, [tabindex], [role=radiogroup]").forEach((part) => {
    if (wrong) part.setAttribute("aria-describedby", `${props.field}-note`);
    else if (part.getAttribute("aria-describedby") === `${props.field}-note`) part.removeAttribute("aria-describedby");
    if (!part.matches("input:not([type=file], [type=radio]), textarea, [role=radiogroup]")) return;
    if (wrong) part.setAttribute("aria-invalid", "true");
    else part.removeAttribute("aria-invalid");
  });
};
// All properties by their keys: a name in quotation marks here is an event to Gradio.
watch(Object.keys(props), sync);
