// A file that was asked for is downloaded as if its link had been pressed.
watch("value", () => {
    if (!props.value) return;
    const link = document.createElement("a");
    link.href = props.value.file.url;
    link.download = props.value.file.orig_name;
    link.click();
});
