() => {
    // Gradio's recorder refuses what the browser does not call audio: films, and files whose names have no ending.
    // The server judges by content, so its upload box is told that they are.
    const box = (event) => event.target.closest?.("#convert-source");
    const given = (files) => {
        const all = [...files], asAudio = new DataTransfer();
        if (!all.length || all.every((file) => file.type.startsWith("audio/"))) return null;
        all.forEach((file) => asAudio.items.add(new File([file], file.name, {type: "audio/any"})));
        return asAudio;
    };
    document.addEventListener("click", (event) => {
        box(event)?.querySelectorAll("input[type=file]").forEach((input) => input.removeAttribute("accept"));
    }, true);
    document.addEventListener("change", (event) => {
        const files = box(event) && event.target.files && given(event.target.files);
        if (files) event.target.files = files.files;
    }, true);
    document.addEventListener("drop", (event) => {
        const files = box(event) && event.dataTransfer && given(event.dataTransfer.files);
        if (!files) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        event.target.dispatchEvent(
            new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: files}));
    }, true);
}
