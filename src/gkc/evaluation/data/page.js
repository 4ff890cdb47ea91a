"use strict";
// The page says everything without this: it only lets tables of classes be sorted and filtered.
const wanted = () => {
  const given = /^#filter=(.*)$/.exec(location.hash);
  try {
    return given && decodeURIComponent(given[1]);
  } catch {
    return null;
  }
};

function makeSortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const text = (row, column) => row.cells[column].textContent.trim();
  const number = (row, column) => {
    const value = parseFloat(text(row, column));
    return Number.isNaN(value) ? -1 : value; // a dash comes last
  };
  const byName = (a, b) => text(a, 0).localeCompare(text(b, 0));
  heads.forEach((head, column) => {
    const compare = column ? (a, b) => number(b, column) - number(a, column) : byName;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const [first, second] = column ? ["descending", "ascending"] : ["ascending", "descending"];
    button.addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === first ? second : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      body.append(...[...body.rows].sort((a, b) => (order === first ? compare(a, b) : compare(b, a))));
    });
  });
}

function makeFilterable(table) {
  const rows = [...table.tBodies[0].rows];
  const words = rows.map((row) => row.cells[0].textContent.toLocaleLowerCase());
  const box = document.createElement("div");
  const label = document.createElement("label");
  const field = document.createElement("input");
  const count = document.createElement("span");
  box.className = "filter";
  field.type = "search";
  field.placeholder = "name or mark";
  label.append("Filter ", field);
  count.className = "soft";
  count.setAttribute("role", "status");
  box.append(label, count);
  table.closest(".scroll").before(box);
  const apply = () => {
    const part = field.value.trim().toLocaleLowerCase();
    let shown = 0;
    rows.forEach((row, place) => {
      row.hidden = !words[place].includes(part);
      shown += !row.hidden;
    });
    count.textContent = `${shown} of ${rows.length} classes`;
  };
  const fromAddress = () => {
    field.value = wanted() ?? field.value;
    apply();
  };
  field.addEventListener("input", apply);
  addEventListener("hashchange", fromAddress);
  fromAddress();
}

for (const table of document.querySelectorAll("table.classes")) {
  makeSortable(table);
  makeFilterable(table);
}
