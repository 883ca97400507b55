// What the frame of the page does by itself: it notices a server that is gone, keeps what was typed and what
// was chosen last (in the browser, nowhere else), says what becomes of a job, and closes its dialogs on Escape.
(() => {
    const $ = (selector) => document.querySelector(selector);

    // --- The page appears as a whole ------------------------------------------------------------------
    // Gradio fetches each kind of part by itself, and what is there already is pushed about; until nothing
    // has come for a while, only the head is seen.
    const QUIET_MS = 300, LONGEST_MS = 5000;
    const root = document.documentElement;
    let settling = 0;
    const appear = () => {
        arriving.disconnect();
        root.classList.remove("tm-arriving");
    };
    const arriving = new MutationObserver(() => {
        clearTimeout(settling);
        const stands = window.gradio_config?.current_page || $("#tabs [role=tabpanel]");
        if (stands && $(".tm-head h1")) settling = setTimeout(appear, QUIET_MS);
    });
    root.classList.add("tm-arriving");
    arriving.observe(root, {childList: true, subtree: true});
    setTimeout(appear, LONGEST_MS);

    // --- A lost server -------------------------------------------------------------------------------
    const PROBE_MS = 2000, PATIENCE_MS = 5000, TYPED = "timbre.typed";
    const ask = window.fetch.bind(window);
    let lost = false, probing = false, leaving = false;

    // true: it answers; "new": it does, and was started anew; false: it does not.
    const answers = async () => {
        try {
            const given = {cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS)};
            const answer = await ask("gradio_api/app_id", given);
            if (answer.status >= 500) return false;
            const known = window.gradio_config?.app_id;
            if (!answer.ok || !known) return true;
            return (await answer.json()).app_id === known ? true : "new";
        } catch {
            return false;
        }
    };
    // The sentence stands in the page, in its language; unhidden, it is read out.
    const say = (isLost) => {
        const bar = $("#tm-lost");
        if (bar) bar.hidden = !isLost;
    };
    const probe = async () => {
        if (probing) return;
        probing = true;
        let there = await answers();
        while (!there) {
            if (!lost) keepTyped();
            lost = true;
            say(true);
            await new Promise((done) => setTimeout(done, PROBE_MS));
            there = await answers();
        }
        probing = false;
        if (there === "new") {
            keepTyped();
            lost = true;
            location.reload();
        } else {
            lost = false;
            say(false);
        }
    };
    // A stream that ends, or a request that nobody answers, is the first that is heard of it.
    const watched = async (body) => {
        const reader = body.getReader();
        try {
            while (!(await reader.read()).done);
        } catch {}
        if (!leaving) probe();
    };
    window.addEventListener("pagehide", () => { leaving = true; if (lost) keepTyped(); });
    window.addEventListener("pageshow", () => { leaving = false; });
    window.addEventListener("offline", probe);
    window.fetch = async (...given) => {
        let answer;
        try {
            answer = await ask(...given);
        } catch (error) {
            if (!leaving && error?.name !== "AbortError") probe();
            throw error;
        }
        if (String(given[0]?.url ?? given[0]).includes("/heartbeat/") && answer.body) watched(answer.clone().body);
        return answer;
    };

    // --- What was typed stays when the page is loaded again -------------------------------------------
    const FIELDS = "input:not([type=file], [type=password], [role=listbox], [role=combobox]), textarea";
    // Radio buttons are told apart by their value, which neither a language nor another order changes; all else
    // by its place among the fields of its part of the page.
    const fieldsOf = (box) => [...box.querySelectorAll(FIELDS)].filter((field) => field.type !== "radio");
    const radiosOf = (box) => [...box.querySelectorAll("input[type=radio]")];
    const found = (box, where) =>
        typeof where === "string" ? radiosOf(box).find((radio) => radio.value === where) : fieldsOf(box)[where];
    const stateOf = (field) => ["radio", "checkbox"].includes(field.type) ? field.checked : field.value;
    const keepTyped = () => {
        const kept = [];
        for (const field of [...fieldsOf(document), ...radiosOf(document).filter((one) => one.checked)]) {
            const box = field.closest("[id]:not(input):not(textarea):not([id^=html-])");
            if (!box || box.closest("[data-testid=code], .tm-list")) continue;
            const where = field.type === "radio" ? field.value : fieldsOf(box).indexOf(field);
            kept.push([box.id, where, stateOf(field)]);
        }
        try {
            sessionStorage.setItem(TYPED, JSON.stringify(kept));
        } catch {}
    };
    // Whether a field has its value already; if it is there and has not, it is given it.
    const fill = ([id, where, state]) => {
        const box = document.getElementById(id), field = box && found(box, where);
        if (!field || field.disabled || field.readOnly) return false;
        if (stateOf(field) === state) return true;
        if (typeof state === "boolean") field.click();
        else {
            Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set.call(field, state);
            field.dispatchEvent(new Event("input", {bubbles: true}));
            field.dispatchEvent(new Event("change", {bubbles: true}));
        }
        return false;
    };
    const AGAIN_MS = 400, LONGEST_TIMES = 1500;
    const bringBack = () => {
        let kept = [], times = 0;
        try {
            kept = JSON.parse(sessionStorage.getItem(TYPED) ?? "[]").map((one) => ({one, held: 0}));
            sessionStorage.removeItem(TYPED);
        } catch {}
        // Until it has held: what a script fills before the page stands is lost again. What is on a tab that
        // was not opened yet is filled in when it is.
        const again = setInterval(() => {
            for (const each of kept) each.held = fill(each.one) ? each.held + 1 : 0;
            kept = kept.filter((each) => each.held < 3);
            if (!kept.length || ++times > LONGEST_TIMES) clearInterval(again);
        }, AGAIN_MS);
    };

    // --- What becomes of a job is said to who does not see it -----------------------------------------
    // Cards are drawn anew as a job goes on; said is of which job and in which state, when that has changed.
    const CARDS = "#convert-status, #clone-report, #training-card", heads = new Map();
    const headOf = (card) => {
        const head = card.querySelector("h3, .tm-row");
        return [...(head?.children.length ? head.children : [head])].map((one) => one?.textContent).join(": ");
    };
    new MutationObserver(() => {
        for (const card of document.querySelectorAll(CARDS)) {
            const head = headOf(card), before = heads.get(card.id);
            heads.set(card.id, head);
            const place = $("#tm-told");
            if (place && head && before !== undefined && before !== head) place.textContent = head;
        }
    }).observe(root, {childList: true, subtree: true});

    // --- Dialogs, and buttons that lead to a tab ------------------------------------------------------
    document.addEventListener("keydown", (event) => {
        if (event.key === "Escape") $(".tm-dialog .tm-close")?.click();
    });
    document.addEventListener("click", (event) => {
        const link = event.target.closest?.("[data-tab]");
        if (!link) return;
        event.preventDefault();
        window.timbre.tab(link.dataset.tab);
    });

    window.timbre = {
        get: (key) => {
            try {
                return JSON.parse(localStorage.getItem(`timbre.${key}`) ?? "null");
            } catch {
                return null;
            }
        },
        set: (key, value) => {
            try {
                localStorage.setItem(`timbre.${key}`, JSON.stringify(value));
            } catch {}
        },
        // Open a tab, if there is one; a hidden one has no button.
        tab: (id, tries = 40) => {
            const button = $(`#tabs [role=tab][data-tab-id="${CSS.escape(id)}"]`);
            if (button?.getAttribute("aria-selected") === "true") return;
            button?.click();  // which is not heard before the page stands
            if (tries) setTimeout(() => window.timbre.tab(id, tries - 1), 50);
        },
        focus: (selector, tries = 20) => {
            const found = $(selector);
            if (found) {
                found.focus();
                found.closest(".tm-danger")?.scrollIntoView({block: "nearest"});
            }
            else if (tries) setTimeout(() => window.timbre.focus(selector, tries - 1), 50);
        },
    };
    // Read now: the page notes its first tab as soon as it stands.
    window.timbre.lastTab = window.timbre.get("tab");
    bringBack();
})();
