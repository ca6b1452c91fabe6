"use strict";
(() => {
  const runs = [...document.querySelectorAll(".run")];
  const chips = [...document.querySelectorAll(".chips button")];
  const filter = document.getElementById("filter");
  const count = document.querySelector(".count");
  const nothing = document.querySelector(".nothing");
  const texts = new Map();

  const textOf = (run) => {
    if (!texts.has(run)) {
      const said = [".what", ".about", ".steps"].map((part) => run.querySelector(part)?.textContent ?? "");
      texts.set(run, said.join(" ").toLowerCase());
    }
    return texts.get(run);
  };

  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(chips.filter((chip) => chip.ariaPressed === "true").map((chip) => chip.dataset.verdict));
    let shown = 0;
    for (const run of runs) {
      const fits = (!wanted.size || wanted.has(run.dataset.verdict)) && words.every((word) => textOf(run).includes(word));
      if (run.hidden === fits) run.hidden = !fits;
      shown += fits;
    }
    const [some, all] = [shown, runs.length].map((n) => n.toLocaleString("en"));
    count.textContent = some === all ? `${all} shown` : `${some} of ${all} shown`;
    nothing.hidden = shown > 0 || !runs.length;
  };

  const showAll = () => {
    filter.value = "";
    for (const chip of chips) chip.ariaPressed = "false";
    show();
  };

  const step = (by) => {
    const visible = runs.filter((run) => !run.hidden);
    const at = visible.indexOf(document.activeElement?.closest?.(".run"));
    const next = visible[Math.min(Math.max(at + by, 0), visible.length - 1)];
    next?.querySelector("summary").focus();
    next?.scrollIntoView({ block: "nearest" });
  };

  const jump = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.classList.contains("run")) {
      if (target.hidden) showAll();
      target.open = true;
      target.scrollIntoView();
    }
  };

  for (const chip of chips) {
    chip.disabled = false;
    chip.addEventListener("click", () => {
      chip.ariaPressed = chip.ariaPressed === "true" ? "false" : "true";
      show();
    });
  }
  filter.addEventListener("input", show);
  document.getElementById("open").addEventListener("click", () => runs.forEach((run) => { if (!run.hidden) run.open = true; }));
  document.getElementById("close").addEventListener("click", () => runs.forEach((run) => { run.open = false; }));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      showAll();
    } else if (event.target === filter) {
      return;
    } else if (event.key === "/") {
      event.preventDefault();
      filter.focus();
    } else if (event.key === "j") {
      step(1);
    } else if (event.key === "k") {
      step(-1);
    }
  });
  // On paper nothing can be opened any more.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = runs.filter((run) => !run.open && !run.hidden && !run.classList.contains("good"));
    for (const run of opened) run.open = true;
  });
  addEventListener("afterprint", () => opened.forEach((run) => { run.open = false; }));
  addEventListener("hashchange", jump);
  for (const part of document.querySelectorAll(".live")) part.hidden = false;
  show();
  jump();
})();
