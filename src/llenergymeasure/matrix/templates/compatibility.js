
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const filters = byId("filters"), dialog = byId("evidence");
  const RED = new Set(["failed", "error", "timeout", "crash"]);
  const SHOWN = 60;
  const numbers = new Intl.NumberFormat("en");
  const collator = new Intl.Collator("en", { numeric: true });

  /* An element with attributes and children; texts become text, never markup. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== "" && child !== null && child !== undefined));
    return element;
  }
  const badge = (word) => make("b", { class: `badge ${word.replace(" ", "-")}` }, word);
  const codeWithBreaks = (name) => {
    const code = make("code");
    name.split(/(?<=[./:[,_])/).forEach((part, index) => code.append(...(index ? [make("wbr"), part] : [part])));
    return code;
  };
  const debounced = (work) => { let timer; return () => { clearTimeout(timer); timer = setTimeout(work, 120); }; };

  function ago(time) {
    const days = Math.floor((Date.now() - Date.parse(time)) / 864e5);
    return days < 1 ? "today" : days === 1 ? "yesterday" : `${numbers.format(days)} days ago`;
  }

  /* What the page has: rows of fields are in it, rows of tests are made when they are shown. */
  const fieldTables = [...document.querySelectorAll("table.fields")].map((table) => {
    const cells = data.cells.map((cell, index) => index).filter((index) => data.cells[index].backend === table.dataset.backend);
    const rows = [...table.tBodies[0].rows].map((row) => {
      const name = row.cells[0].textContent, reasons = data.fields[name] ?? {};
      return { row, name, reasons, states: [...row.cells].slice(1).map((cell) => cell.textContent),
        text: [name, ...new Set(Object.values(reasons))].map((part) => typeof part === "number" ? data.reasons[part] : part).join("\n").toLowerCase() };
    });
    return { kind: "field", backend: table.dataset.backend, table, cells, rows, found: rows, sort: null };
  });
  const testTables = data.tests.filter((part) => part.names.length).map((part) => {
    const cells = part.cells.map((cell) => cell.cell);
    const rows = part.names.map((name, place) => {
      const states = part.cells.map((cell) => stateOf(cell.outcomes[place]));
      const reasons = {};
      for (const cell of part.cells) if (place in cell.reasons) reasons[cell.cell] = cell.reasons[place];
      return { name, place, states, reasons, text: [name, ...[...new Set(Object.values(reasons))].map((index) => data.reasons[index])].join("\n").toLowerCase() };
    });
    rows.sort((one, other) => collator.compare(one.name, other.name));
    return { kind: "test", backend: part.backend, part, cells, rows, found: rows, sort: null, shown: SHOWN };
  });
  const tables = [...fieldTables, ...testTables];

  function stateOf(letter) {
    const word = data.letters[letter] ?? "absent";
    return word === "skipped" ? "not run" : word;
  }
  function provesOf(part, cell, place) { return cell.proves[place] ?? part.proves[place] ?? []; }

  /* Filtering. */
  function wanted() {
    return { words: byId("q").value.toLowerCase().split(/\s+/).filter(Boolean), backend: byId("backend").value,
      cell: byId("cell").value, state: byId("state").value, differs: byId("differs").checked };
  }
  function visible(table, want) {
    return table.cells.map((index) => !want.cell || data.cells[index].name === want.cell);
  }
  function matches(row, want, columns) {
    if (!want.words.every((word) => row.text.includes(word))) return false;
    const states = row.states.filter((_, index) => columns[index]);
    if (want.state && !states.some((state) => want.state === "red" ? RED.has(state) : state === want.state)) return false;
    return !want.differs || new Set(states).size > 1;
  }
  function apply() {
    const want = wanted(), found = { field: 0, test: 0 }, all = { field: 0, test: 0 };
    for (const table of tables) {
      const columns = visible(table, want);
      const off = (want.backend && table.backend !== want.backend) || !columns.some(Boolean);
      table.found = off ? [] : table.rows.filter((row) => matches(row, want, columns));
      table.columns = columns;
      found[table.kind] += table.found.length;
      all[table.kind] += table.rows.length;
      (table.kind === "field" ? showFields : showTests)(table);
    }
    const cells = data.cells.filter((cell) => (!want.backend || cell.backend === want.backend) && (!want.cell || cell.name === want.cell));
    const backends = new Set(cells.map((cell) => cell.backend));
    for (const section of document.querySelectorAll("section.backend")) section.hidden = !backends.has(section.dataset.backend);
    for (const row of byId("overview").tBodies[0].rows) {
      row.hidden = !cells.includes(data.cells[Number(row.dataset.cell)]);
    }
    byId("count").textContent = `${numbers.format(found.field)} of ${numbers.format(all.field)} fields and ${numbers.format(found.test)} of ${numbers.format(all.test)} tests match`;
    remember(want);
  }
  function showFields(table) {
    table.table.closest(".scroll").hidden = !table.found.length;
    const kept = new Set(table.found);
    for (const row of table.rows) row.row.hidden = !kept.has(row);
    showColumns(table);
    table.table.tBodies[0].append(...ordered(table).map((row) => row.row));
    rove(table.table);
  }
  function showColumns(table) {
    const key = table.columns.join();
    if (table.key === key) return;
    table.key = key;
    for (const row of table.table.rows) [...row.cells].slice(1).forEach((cell, index) => { cell.hidden = !table.columns[index]; });
  }
  function showTests(table) {
    table.table.closest(".scroll").hidden = !table.found.length;
    const rows = ordered(table).slice(0, table.shown).map((row) => testRow(table, row));
    table.table.tBodies[0].replaceChildren(...rows);
    table.key = null;
    showColumns(table);
    const left = table.found.length - rows.length;
    table.more.hidden = left <= 0;
    table.more.textContent = `Show ${Math.min(left, 200)} more of ${numbers.format(left)}`;
    rove(table.table);
  }
  function testRow(table, row) {
    const [, file, name] = /^(.*?::)?(.*)$/s.exec(row.name);
    const label = codeWithBreaks(name);
    if (file) label.prepend(make("span", { class: "file" }, file.replace(`tests/integration/${table.backend}/`, "")));
    const cells = row.states.map((state, index) => {
      const link = data.cells[table.cells[index]].file;
      return make("td", { class: state.replace(" ", "-") }, state === "absent" || !link ? state : make("a", { href: link }, state));
    });
    const line = make("tr", {}, make("th", { scope: "row" }, label), ...cells);
    line.entry = row;
    return line;
  }

  /* Sorting: a column's states go from the best to the worst, then by name. */
  const ORDER = [...data.rungs].reverse().concat(["passed", "xfail upstream", "xfail ours", "not run", "absent", "failed", "error", "timeout", "crash"]);
  function ordered(table) {
    if (!table.sort) return table.found;
    const { column, down } = table.sort, sign = down ? -1 : 1;
    return [...table.found].sort((one, other) => {
      const step = column < 0 ? 0 : ORDER.indexOf(one.states[column]) - ORDER.indexOf(other.states[column]);
      return step ? sign * step : (column < 0 ? sign : 1) * collator.compare(one.name, other.name);
    });
  }
  function sortable(table, chosen) {
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      const button = make("button", { type: "button", class: "sort" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        chosen(index, down);
      });
    });
  }
  function sortOverview(index, down) {
    const body = byId("overview").tBodies[0];
    const key = (row) => row.cells[index].dataset.sort ?? row.cells[index].textContent.trim();
    const sign = down ? -1 : 1;
    body.append(...[...body.rows].sort((one, other) => sign * collator.compare(key(one), key(other))));
  }

  /* Keyboard: one stop for Tab in each table, arrows inside it. */
  function rove(table) {
    const links = [...table.tBodies[0].querySelectorAll("a")];
    const current = links.find((link) => link.tabIndex === 0 && link.offsetParent) ?? links.find((link) => link.offsetParent);
    for (const link of links) link.tabIndex = link === current ? 0 : -1;
  }
  function step(link, key) {
    const rows = [...link.closest("tbody").rows].filter((row) => !row.hidden);
    const lines = rows.map((row) => [...row.cells].map((cell) => cell.hidden ? null : cell.querySelector("a")));
    let y = rows.indexOf(link.closest("tr")), x = lines[y].indexOf(link);
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (key === "Home" || key === "End") return (key === "Home" ? lines[y] : [...lines[y]].reverse()).find(Boolean);
    for (;;) {
      y += moves[key][0];
      x += moves[key][1];
      if (!lines[y] || x < 0 || x >= lines[y].length) return null;
      if (lines[y][x]) return lines[y][x];
    }
  }
  document.addEventListener("keydown", (event) => {
    const link = event.target.closest?.(".matrix td > a");
    if (link && /^(Arrow|Home$|End$)/.test(event.key) && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      const next = step(link, event.key);
      if (next) { link.tabIndex = -1; next.tabIndex = 0; next.focus(); }
    } else if (event.key === "/" && !dialog.open && !/INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) {
      event.preventDefault();
      byId("q").focus();
    }
  });

  /* Evidence. */
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    if (link.matches(".open-cell")) openCell(Number(link.closest("tr").dataset.cell));
    else if (link.matches(".matrix td > a")) openEntry(link);
    else return;
    event.preventDefault();
  });
  function openEntry(link) {
    const row = link.closest("tr"), column = [...row.cells].indexOf(link.closest("td")) - 1;
    const table = tables.find((known) => known.table === link.closest("table"));
    const entry = row.entry ?? table.rows.find((known) => known.row === row);
    (table.kind === "field" ? openField : openTest)(table, entry, column);
  }
  function open(name, place, index, ...body) {
    const cell = data.cells[index];
    const close = make("button", { type: "button" }, "Close");
    close.addEventListener("click", () => dialog.close());
    const title = make("h2", { id: "evidence-title" }, name, make("small", {}, place));
    const file = cell.file ? make("p", {}, make("a", { href: cell.file }, `The record of ${cell.name}`), cell.ended ? `, of ${cell.ended.slice(0, 10)}, ${ago(cell.ended)}` : "") : "";
    dialog.replaceChildren(make("div", { class: "top" }, title, close), make("div", { class: "body" }, ...body, file));
    dialog.showModal();
    dialog.scrollTop = 0;
  }
  function openField(table, entry, column) {
    const index = table.cells[column], reason = data.reasons[entry.reasons[index] ?? 0];
    const part = data.tests.find((known) => known.backend === table.backend);
    const own = part?.cells.find((known) => known.cell === index);
    const proofs = [];
    (own ? part.names : []).forEach((name, place) => {
      const outcome = own.outcomes[place];
      if (!(outcome in data.letters)) return;
      for (const [field, rung] of provesOf(part, own, place)) if (field === entry.name) proofs.push({ name, rung, state: stateOf(outcome), reason: data.reasons[own.reasons[place] ?? 0] });
    });
    proofs.sort((one, other) => ORDER.indexOf(one.rung) - ORDER.indexOf(other.rung) || collator.compare(one.name, other.name));
    const list = make("ul", {}, ...proofs.map((proof) => make("li", {}, badge(proof.state), `${proof.rung}: `, codeWithBreaks(proof.name), proof.reason ? make("p", {}, proof.reason) : "")));
    open(codeWithBreaks(entry.name), `in ${data.cells[index].name}`, index,
      make("p", {}, badge(entry.states[column]), reason),
      make("h3", {}, "Tests behind it"),
      proofs.length ? list : make("p", {}, "None; what is shown was reached by the wiring audit alone, which stands in the record."),
      make("h3", {}, "In the other cells"),
      make("ul", {}, ...others(table, entry, column)));
  }
  function openTest(table, entry, column) {
    const index = table.cells[column], own = table.part.cells[column];
    const proofs = provesOf(table.part, own, entry.place).map(([field, rung]) => make("li", {}, `${rung}: `, codeWithBreaks(field)));
    open(codeWithBreaks(entry.name), `in ${data.cells[index].name}`, index,
      make("p", {}, badge(entry.states[column]), data.reasons[entry.reasons[index] ?? 0]),
      ...(proofs.length ? [make("h3", {}, "Fields that it proves where it passes"), make("ul", {}, ...proofs)] : []),
      make("h3", {}, "In the other cells"),
      make("ul", {}, ...others(table, entry, column)));
  }
  function others(table, entry, column) {
    return table.cells.map((index, place) => place === column ? "" : make("li", {}, badge(entry.states[place]), data.cells[index].name,
      index in entry.reasons ? make("p", {}, data.reasons[entry.reasons[index]]) : ""));
  }
  function openCell(index) {
    const cell = data.cells[index];
    const facts = Object.entries(cell.facts).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
    const findings = cell.findings.map(([outcome, name, reason]) => make("li", {}, badge(outcome), codeWithBreaks(name), reason ? make("p", {}, reason) : ""));
    const heads = ["ended", "status", "passed", "expected", "not run", "failed", "commit"];
    const runs = [...cell.runs].reverse().map((run) => make("tr", {}, ...run.map((value, place) =>
      place === 0 ? make("th", { scope: "row" }, value.slice(0, 16).replace("T", " ")) : make("td", { class: typeof value === "number" ? "number" : undefined }, place === 6 ? make("code", {}, value) : String(value)))));
    const table = make("table", {}, make("caption", {}, "Its runs, the last first"),
      make("thead", {}, make("tr", {}, ...heads.map((head, place) => make("th", { scope: "col", class: place > 1 && place < 6 ? "number" : undefined }, head)))), make("tbody", {}, ...runs));
    const plot = byId("overview").querySelector(`tr[data-cell="${index}"] svg`)?.cloneNode(true);
    open(cell.name, cell.ended ? `last run ${ago(cell.ended)}` : "no run", index,
      make("p", {}, badge(cell.status === "missing" ? "failed" : cell.status)),
      ...(findings.length ? [make("h3", {}, "What is bad"), make("ul", {}, ...findings)] : []),
      make("dl", { class: "facts" }, ...facts),
      make("h3", {}, "History"), plot, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Runs of ${cell.name}` }, table));
  }

  /* What is chosen stands in the address, so that a link to it can be kept. */
  function remember(want) {
    const chosen = new URLSearchParams();
    for (const id of ["q", "backend", "cell", "state"]) if (byId(id).value) chosen.set(id, byId(id).value);
    if (want.differs) chosen.set("differs", "1");
    const text = chosen.toString();
    if (text || location.hash.includes("=")) history.replaceState(null, "", `#${text}`);
  }
  function recall() {
    if (!location.hash.includes("=")) return;
    const chosen = new URLSearchParams(location.hash.slice(1));
    for (const id of ["q", "backend", "cell", "state"]) byId(id).value = chosen.get(id) ?? "";
    for (const select of filters.querySelectorAll("select")) if (select.selectedIndex < 0) select.value = "";
    byId("differs").checked = chosen.has("differs");
  }

  /* Beginning. */
  function buildTests(table) {
    const id = `tests-${table.backend}`;
    const heads = [make("th", { scope: "col" }, "Test"), ...table.cells.map((index) => make("th", { scope: "col" }, data.cells[index].short))];
    table.table = make("table", { class: "matrix tests" }, make("caption", {}, `Every test of ${table.backend}`), make("thead", {}, make("tr", {}, ...heads)), make("tbody"));
    table.more = make("button", { type: "button", class: "more" });
    table.more.addEventListener("click", () => { table.shown += 200; showTests(table); });
    const section = make("section", { class: "backend", "data-backend": table.backend }, make("h3", { id }, table.backend),
      make("div", { class: "scroll tall", role: "region", "aria-label": `Every test of ${table.backend}`, tabindex: "0" }, table.table), table.more);
    byId("test-tables").append(section);
  }
  document.documentElement.classList.add("js");
  filters.hidden = false;
  for (const time of document.querySelectorAll("time")) time.after(" ", make("small", {}, ago(time.dateTime)));
  testTables.forEach(buildTests);
  for (const table of tables) {
    sortable(table.table, (index, down) => {
      table.sort = { column: index - 1, down };
      (table.kind === "field" ? showFields : showTests)(table);
    });
  }
  sortable(byId("overview"), sortOverview);
  recall();
  apply();
  const changed = debounced(() => { for (const table of testTables) table.shown = SHOWN; apply(); });
  for (const event of ["input", "change"]) filters.addEventListener(event, changed);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(apply));
  window.addEventListener("hashchange", () => { recall(); apply(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
})();
