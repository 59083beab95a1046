"use strict";
// Tables of points: texts are set as text, so that nothing in a record can become markup.
const PAGE = 100;  // lines that are drawn at once
const CHOICES = 60;  // values that a list to choose from may have

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function pointsTable(holder) {
  const {columns, targets, measurements} = JSON.parse(holder.querySelector("script").textContent);
  const values = targets.map((_, row) => columns.map(column => column.shown[row]).join("\n").toLowerCase());
  const named = targets.map((_, row) =>
    columns.map(column => `${column.name}=${column.shown[row]}`).join("\n").toLowerCase());
  const state = {sorted: null, descending: false, words: [], chosen: new Map(), open: new Set(), drawn: PAGE};

  const filters = element("div", undefined, holder);
  filters.className = "filters";
  const search = element("input", undefined, element("label", "search, all words", filters));
  search.type = "search";
  search.placeholder = "googlenet cuda_graphs=true";
  search.addEventListener("input", () => {
    state.words = search.value.toLowerCase().split(/\s+/).filter(word => word);
    state.drawn = PAGE;
    draw();
  });
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
    heading.classList.toggle("main", column.main);
    const button = element("button", column.name, heading);
    button.addEventListener("click", () => {
      state.descending = state.sorted === index && !state.descending;
      state.sorted = index;
      draw();
    });
    return heading;
  });
  element("th", "files", head);
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

  // A line of the table: one point, or several of one measurement, with what differs between them.
  function line(rows, inner) {
    const made = document.createElement("tr");
    const several = rows.length > 1;
    made.classList.toggle("inner", inner);
    columns.forEach((column, index) => {
      const values = [...new Set((column.choices ? rows : rows.slice(0, 1)).map(row => column.shown[row]))];
      const cell = element("td", values.length > 4 ? `${values.length} values` : values.join(", "), made);
      cell.title = values.join(", ");
      cell.classList.toggle("main", column.main);
    });
    const link = element("a", "files", element("td", undefined, made));
    link.href = targets[rows[0]].split("/").map(part => encodeURIComponent(part)).join("/");
    if (several) {
      const key = measurements[rows[0]];
      const button = element("button", `${state.open.has(key) ? "▾" : "▸"} ${rows.length} points `);
      button.addEventListener("click", () => {
        if (!state.open.delete(key)) state.open.add(key);
        draw();
      });
      made.cells[0].prepend(button);
    }
    return made;
  }

  function draw() {
    const rows = targets.map((_, row) => row).filter(row =>
      state.words.every(word => (word.includes("=") ? named : values)[row].includes(word))
      && [...state.chosen].every(([index, value]) => columns[index].shown[row] === value));
    if (state.sorted !== null) rows.sort(order);
    headings.forEach((heading, index) => {
      const here = index === state.sorted;
      heading.setAttribute("aria-sort", here ? (state.descending ? "descending" : "ascending") : "none");
      heading.firstChild.textContent = columns[index].name + (here ? (state.descending ? " ▼" : " ▲") : "");
    });
    const groups = new Map();
    for (const row of rows) {
      if (!groups.has(measurements[row])) groups.set(measurements[row], []);
      groups.get(measurements[row]).push(row);
    }
    const drawn = [...groups.values()].slice(0, state.drawn);
    body.replaceChildren(...drawn.flatMap(group => {
      const open = group.length > 1 && state.open.has(measurements[group[0]]);
      return [line(group, false), ...(open ? group.map(row => line([row], true)) : [])];
    }));
    const lines = groups.size < rows.length ? `; those of one measurement share a line` : "";
    count.textContent = `${rows.length} of ${targets.length} points${lines}`
      + (groups.size > drawn.length ? `; ${drawn.length} of ${groups.size} lines shown` : "");
    more.hidden = groups.size <= drawn.length;
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
    const narrow = holder.clientWidth < 420;
    const own = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: text, size: narrow ? 11 : 12},
      showlegend: false, dragmode: false, ...layout,
      xaxis: {...axis, ...layout.xaxis}, yaxis: {...axis, ...layout.yaxis},
    };
    data.filter(trace => trace.type === "bar" && trace.error_x).forEach(trace => { trace.error_x.color = text; });
    Plotly.react(holder, data, own, {responsive: true, displayModeBar: false});
  }
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

// Where the page may not write to the clipboard, the text is selected and copied as by hand.
async function copy(button) {
  const text = button.parentElement.querySelector("code").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", text, document.body);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
}

document.querySelectorAll(".copy").forEach(button => button.addEventListener("click", () => copy(button)));
document.querySelectorAll("div.points").forEach(pointsTable);
document.querySelectorAll(".plot").forEach(plot);
