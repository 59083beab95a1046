"use strict";
// Tables of points: texts are set as text, so that nothing in a record can become markup.
const PAGE = 100;  // rows that are drawn at once
const CHOICES = 60;  // values that a list to choose from may have

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function pointsTable(holder) {
  const {columns, targets} = JSON.parse(holder.querySelector("script").textContent);
  const everything = targets.map((_, row) => columns.map(column => column.shown[row]).join(" ").toLowerCase());
  const state = {sorted: null, descending: false, words: "", chosen: new Map(), drawn: PAGE};

  const filters = element("div", undefined, holder);
  filters.className = "filters";
  const search = element("input", undefined, element("label", "any cell contains", filters));
  search.type = "search";
  search.addEventListener("input", () => { state.words = search.value.toLowerCase(); state.drawn = PAGE; draw(); });
  columns.forEach((column, index) => {
    const values = column.choices ? [...new Set(column.shown)] : [];
    if (values.length < 2 || values.length > CHOICES) return;
    const select = element("select", undefined, element("label", column.name, filters));
    select.dataset.column = column.name;
    element("option", "all", select).value = "";
    values.sort((a, b) => a.localeCompare(b, undefined, {numeric: true}));
    values.forEach((value, number) => { element("option", value || "–", select).value = String(number); });
    select.addEventListener("change", () => {
      if (select.value === "") state.chosen.delete(index); else state.chosen.set(index, values[Number(select.value)]);
      state.drawn = PAGE;
      draw();
    });
  });

  const count = element("p", undefined, holder);
  count.className = "count";
  count.setAttribute("aria-live", "polite");
  const wide = element("div", undefined, holder);
  wide.className = "wide";
  const table = element("table", undefined, wide);
  const head = element("tr", undefined, element("thead", undefined, table));
  const body = element("tbody", undefined, table);
  const headings = columns.map((column, index) => {
    const heading = element("th", undefined, head);
    heading.title = column.title;
    const button = element("button", column.name, heading);
    button.addEventListener("click", () => {
      state.descending = state.sorted === index && !state.descending;
      state.sorted = index;
      draw();
    });
    return heading;
  });
  element("th", "artifacts", head);
  const more = element("button", undefined, holder);
  more.className = "more";
  more.addEventListener("click", () => { state.drawn += 10 * PAGE; draw(); });

  function order(a, b) {
    const {shown, keys} = columns[state.sorted];
    const sign = state.descending ? -1 : 1;
    if (!keys) return sign * shown[a].localeCompare(shown[b], undefined, {numeric: true});
    if (keys[a] === null || keys[b] === null) return (keys[a] === null) - (keys[b] === null);  // missing ones last
    return sign * (keys[a] - keys[b]);
  }

  function draw() {
    const rows = targets.map((_, row) => row).filter(row =>
      everything[row].includes(state.words)
      && [...state.chosen].every(([index, value]) => columns[index].shown[row] === value));
    if (state.sorted !== null) rows.sort(order);
    headings.forEach((heading, index) => {
      const here = index === state.sorted;
      heading.setAttribute("aria-sort", here ? (state.descending ? "descending" : "ascending") : "none");
      heading.firstChild.textContent = columns[index].name + (here ? (state.descending ? " ▼" : " ▲") : "");
    });
    const drawn = rows.slice(0, state.drawn).map(row => {
      const line = document.createElement("tr");
      columns.forEach(column => { element("td", column.shown[row], line).title = column.shown[row]; });
      const link = element("a", "files", element("td", undefined, line));
      link.href = targets[row].split("/").map(part => encodeURIComponent(part)).join("/");
      return line;
    });
    body.replaceChildren(...drawn);
    count.textContent = `${rows.length} of ${targets.length} points` + (rows.length > drawn.length ? `, ${drawn.length} shown` : "");
    more.hidden = rows.length <= drawn.length;
    more.textContent = "show more";
  }

  draw();
}

// Figures take the colours of the page, light or dark, and follow when these change.
function colors() {
  const style = getComputedStyle(document.documentElement);
  const [text, line] = ["--text", "--line"].map(name => style.getPropertyValue(name).trim());
  const axis = {color: text, gridcolor: line, zerolinecolor: text, linecolor: line};
  return {text, axis};
}

function plot(holder) {
  const {data, layout} = JSON.parse(holder.querySelector("script").textContent);
  function draw() {
    const {text, axis} = colors();
    const narrow = holder.clientWidth < 600;
    const own = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: text, size: narrow ? 10 : 12},
      margin: {l: 50, r: 15, t: 30, b: 50}, dragmode: narrow ? false : "zoom", ...layout,
      xaxis: {...axis, ...layout.xaxis}, yaxis: {...axis, ...layout.yaxis},
    };
    // Long names would leave a phone no room for the figure; the table has them in full.
    const names = narrow ? [...new Set(data.flatMap(trace => trace.y))].filter(name => typeof name === "string") : [];
    const short = names.map(name => name.length > 24 ? name.slice(0, 23) + "…" : name);
    if (names.length) Object.assign(own.yaxis, {tickmode: "array", tickvals: names, ticktext: short});
    Plotly.react(holder, data, own, {responsive: true, displayModeBar: false});
  }
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

document.querySelectorAll(".points").forEach(pointsTable);
document.querySelectorAll(".plot").forEach(plot);
