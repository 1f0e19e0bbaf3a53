"use strict";
(() => {
  const form = document.getElementById("filter");
  if (form) {
    const { rival, change, words } = form.elements;
    const output = form.querySelector("output");
    const examples = [...document.querySelectorAll(".example")];
    const texts = new Map();
    const textOf = (one) => {
      if (!texts.has(one)) texts.set(one, one.textContent.normalize("NFC").toLowerCase());
      return texts.get(one);
    };
    const apply = () => {
      const wanted = words.value.normalize("NFC").toLowerCase().trim();
      const isFiltered = Boolean(wanted || change.value);
      let shown = 0;
      for (const one of examples) {
        const changes = one.dataset.changes.split(" ");
        const fits = (!change.value || changes[rival.selectedIndex] === change.value)
          && (!wanted || textOf(one).includes(wanted));
        one.hidden = !fits;
        shown += fits;
      }
      for (const page of document.querySelectorAll(".page, .group")) {
        page.hidden = isFiltered && !page.querySelector(".example:not([hidden])");
        if (page.tagName === "DETAILS") page.open = isFiltered ? !page.hidden : "first" in page.dataset;
      }
      output.value = isFiltered ? `${shown} of ${examples.length} shown examples` : "";
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
  }
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details")) one.open = true;
  });
})();
