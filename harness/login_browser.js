(() => {
	const elements = [], known = new Map();
	const id = e => {
		if (!known.has(e)) { known.set(e, elements.length); elements.push(e); }
		return known.get(e);
	};
	// Shadow trees that are open count as parts of the page.
	function* all(root) {
		for (const e of root.querySelectorAll("*")) {
			yield e;
			if (e.shadowRoot) yield* all(e.shadowRoot);
		}
	}
	const seen = e => {
		if (e.checkVisibility && !e.checkVisibility({ visibilityProperty: true })) return false;
		const r = e.getBoundingClientRect();
		return r.width > 0 && r.height > 0;
	};
	const find = selector => {
		for (const e of all(document)) {
			try {
				if (e.matches(selector) && seen(e)) return e;
			} catch { return null; }
		}
		return null;
	};
	const words = e => [e.getAttribute("name"), e.id, e.getAttribute("autocomplete"), e.getAttribute("placeholder"), e.getAttribute("aria-label"),
		e.getAttribute("title"), ...[...(e.labels || [])].map(l => l.textContent)];
	const control = e => {
		const tag = e.localName, button = tag === "button" || e.getAttribute("role") === "button";
		if (!["input", "button", "select", "textarea"].includes(tag) && !button) return null;
		let kind = tag === "input" ? e.type : tag, label = words(e);
		if (tag === "button") kind = e.type === "reset" ? "reset" : e.form && e.type === "button" ? "button" : "submit";
		else if (button) kind = "button";
		if (button) label.push(e.value, e.textContent);
		if (["submit", "image", "radio", "button"].includes(kind)) label.push(e.value, e.getAttribute("alt"));
		if (kind !== "hidden" && !seen(e)) return null;
		if (e.disabled && !button && kind !== "submit") return null;
		return { id: id(e), name: e.getAttribute("name") || "", kind, value: String(e.value ?? "").slice(0, 4096), checked: !!e.checked,
			label: label.filter(Boolean).join(" ").replace(/\s+/g, " ").slice(0, 400) };
	};
	const look = selectors => {
		const forms = new Map(), loose = { method: "POST", action: location.href, controls: [] };
		for (const e of all(document)) {
			if (e.localName === "form") {
				const asked = (e.getAttribute("method") || "").toLowerCase();
				forms.set(e, { method: asked === "get" ? "GET" : "POST", action: e.getAttribute("action") || location.href, controls: [] });
				continue;
			}
			const c = elements.length < 5000 && control(e);
			if (!c) continue;
			const f = e.form || e.closest("form");
			if (f && !forms.has(f)) forms.set(f, { method: "POST", action: f.getAttribute("action") || location.href, controls: [] });
			(f ? forms.get(f) : loose).controls.push(c);
		}
		const list = [...forms.values(), loose].filter(f => f.controls.length);
		// Where a script sends the form, its button need not be one that submits.
		for (const f of list) {
			if (!f.controls.some(c => c.kind === "submit" || c.kind === "image"))
				for (const c of f.controls) if (c.kind === "button") c.kind = "submit";
		}
		return { address: location.href.slice(0, 4096), title: document.title.slice(0, 400), loaded: document.readyState === "complete", scripts: document.scripts.length > 0,
			forms: list.slice(0, 50), steps: (selectors || []).map(s => !!find(s)), source: document.documentElement.outerHTML.slice(0, 65536) };
	};
	const focus = n => {
		const e = elements[n];
		e.scrollIntoView();
		e.focus();
		try { e.select(); } catch { }
		return true;
	};
	const click = n => {
		const e = elements[n];
		if (e.disabled || e.getAttribute("aria-disabled") === "true") return false;
		e.scrollIntoView();
		e.click();
		return true;
	};
	const submit = n => {
		elements[n].form.requestSubmit();
		return true;
	};
	return { look, focus, click, submit, find: s => { const e = find(s); return e ? id(e) : -1; } };
})()
