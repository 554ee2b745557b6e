"use strict";
// The gallery's table: sorted by a click on a heading, filtered by words, two runs picked for the page that compares.
(function () {
  const table = document.getElementById("runs");
  // in a frame of its own: the cue changes the height of what is observed
  const mark = (box) => box.classList.toggle("sideways", box.scrollWidth > box.clientWidth + 1);
  const widths = new ResizeObserver((entries) => {
    requestAnimationFrame(() => entries.forEach((entry) => mark(entry.target)));
  });
  document.querySelectorAll(".scroll").forEach((box) => widths.observe(box));

  // As numbers where both are numbers; what is missing comes last whichever way
  function compare(a, b, upwards) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
    return upwards ? order : -order;
  }

  function sortBy(heading, column) {
    const upwards = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", upwards ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => compare(a.cells[column].dataset.by, b.cells[column].dataset.by, upwards));
    table.tBodies[0].append(...rows);
  }

  function sortable() {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sortBy(heading, column));
      heading.append(button);
    });
  }

  function filterable() {
    const box = document.getElementById("filter");
    const field = box.querySelector("input");
    const count = document.getElementById("count");
    box.hidden = false;
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} runs`;
    });
  }

  function pickable() {
    const link = document.getElementById("compare");
    const boxes = [...table.querySelectorAll(".pick input")];
    const update = () => {
      const picked = boxes.filter((box) => box.checked).map((box) => box.value);
      for (const box of boxes) box.disabled = picked.length === 2 && !box.checked;
      link.setAttribute("aria-disabled", String(picked.length !== 2));
      link.href = picked.length === 2 ? `compare.html?${new URLSearchParams({ a: picked[0], b: picked[1] })}` : "compare.html";
    };
    for (const box of boxes) {
      box.closest(".pick").hidden = false;
      box.addEventListener("change", update);
    }
    update();
  }

  function comparison() {
    const known = JSON.parse(document.getElementById("known").textContent);
    const form = document.getElementById("pair");
    const [first, second] = form.querySelectorAll("select");
    const asked = new URLSearchParams(location.search);
    const runs = Object.keys(known);
    first.value = asked.get("a") in known ? asked.get("a") : runs[0];
    second.value = asked.get("b") in known ? asked.get("b") : runs[1] || runs[0];
    form.hidden = false;
    const lines = document.getElementById("lines");
    const show = () => {
      const [a, b] = [first, second].map((select) => new Map(known[select.value] || []));
      lines.tBodies[0].replaceChildren(...[...new Set([...a.keys(), ...b.keys()])].map((name) => {
        const row = document.createElement("tr");
        const texts = [a.get(name) ?? "–", b.get(name) ?? "–"];
        for (const text of [name, ...texts]) row.insertCell().textContent = text;
        if (texts[0] !== texts[1]) row.className = "differs";
        return row;
      }));
      [first, second].forEach((select, index) => {
        lines.tHead.rows[0].cells[index + 1].textContent = select.value;
      });
    };
    first.addEventListener("change", show);
    second.addEventListener("change", show);
    show();
  }

  if (table) {
    sortable();
    filterable();
    pickable();
  }
  if (document.getElementById("known")) comparison();
})();
