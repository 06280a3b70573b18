// The script of the report: draws the figures when they come into view, shows the chosen net, and
// sorts and filters the table of all trials. It loads nothing. Text of users is set as text only.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("run-data").textContent);
  const byNumber = new Map(data.trials.map((trial) => [trial.n, trial]));
  const onFront = new Set(data.front);
  let chosen = null;

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "onclick") element.addEventListener("click", value);
      else if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };

  // ---- figures ----

  // Colours as the figures are written, and the variables of the style sheet that they become.
  const TOKENS = {
    "#1c2128": "--ink", "#000000": "--ink", "#9aa1a9": "--grey", "#e8eaed": "--grid",
    "#d5d9de": "--bar", "#5b6570": "--muted", "white": "--card", "#0072B2": "--blue",
    "#D55E00": "--orange", "#009E73": "--green", "#CC79A7": "--purple", "#7A5C00": "--brown",
    "#56B4E9": "--sky", "#E69F00": "--yellow",
  };
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let colours = {};
  const readColours = () => {
    colours = {};
    for (const [written, name] of Object.entries(TOKENS)) colours[written] = variable(name);
  };
  const themed = (value) => {
    if (typeof value === "string") return colours[value] ?? value;
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(themed);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, themed(inner)]));
  };
  const coarse = matchMedia("(pointer: coarse)").matches;
  const CONFIG = {
    displaylogo: false, responsive: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d"], doubleClick: "reset+autosize",
  };
  const specs = new Map();
  const spec = (figure) => {
    if (!specs.has(figure)) specs.set(figure, JSON.parse(figure.querySelector("script").textContent));
    return specs.get(figure);
  };

  let printing = false;
  const PAPER = 660; // pixels between the margins of a page of A4, or of US letter
  const paperWidth = (figure) => (figure.closest(".columns, .grid") ? PAPER / 2 - 14 : PAPER);

  const draw = (figure) => {
    const { data: traces, layout } = spec(figure);
    const canvas = figure.querySelector(".canvas");
    const least = printing ? 0 : (layout.meta || {}).width || 0;
    const width = printing ? paperWidth(figure) : Math.max(figure.clientWidth, least);
    const narrow = width < 520;
    const shown = themed({ ...layout, template: undefined });
    shown.width = width;
    shown.paper_bgcolor = shown.plot_bgcolor = "rgba(0,0,0,0)";
    shown.dragmode = coarse ? false : "zoom"; // a finger scrolls the page
    shown.font = { ...shown.font, size: narrow ? 12 : 13.5 };
    if (narrow) {
      const ticks = (shown.xaxis || {}).tickvals;
      if (ticks && ticks.length > 4 && !(layout.meta || {}).width) { // every second one has room
        const texts = shown.xaxis.ticktext || ticks;
        shown.xaxis = { ...shown.xaxis, tickvals: ticks.filter((_, i) => i % 2 === 0), ticktext: texts.filter((_, i) => i % 2 === 0) };
      }
      shown.margin = { ...shown.margin, l: Math.min(52, shown.margin.l || 52), r: 8 };
      shown.yaxis = { ...shown.yaxis, automargin: true };
      const names = traces.filter((trace) => trace.name && trace.showlegend !== false).length;
      if (names > 1 && !(shown.legend || {}).orientation) { // beside the plot there is no room
        shown.legend = { ...shown.legend, orientation: "h", y: 1.02, yanchor: "bottom" };
        shown.height = (shown.height || 400) + 12 * names;
      }
      for (const axis of Object.keys(shown).filter((key) => /^[xy]axis/.test(key))) {
        const title = shown[axis].title;
        if (title && title.text) {
          shown[axis] = { ...shown[axis], nticks: 5, automargin: true, title: { ...title, text: wrap(title.text, width) } };
        }
      }
    }
    const drawn = [...recoloured(figure, themed(traces)), ...rings(figure)];
    canvas.style.height = `${shown.height}px`;
    window.Plotly.react(canvas, drawn, shown, CONFIG);
    if (!figure.dataset.drawn) {
      figure.dataset.drawn = "yes";
      figure.addEventListener("pointerup", () => figure.focus({ preventScroll: true })); // then keys work
      canvas.on("plotly_click", (event) => {
        const number = event.points[0].customdata;
        if (byNumber.has(number)) choose(number);
      });
    }
  };

  const wrap = (text, width) => {
    const limit = Math.floor(width / 9.5);
    const lines = [""];
    for (const word of text.split(" ")) {
      const last = lines[lines.length - 1];
      if (last && (last + " " + word).length > limit) lines.push(word);
      else lines[lines.length - 1] = last ? last + " " + word : word;
    }
    return lines.join("<br>");
  };

  // Points in the colours of a hyperparameter's options, in place of those of front and flags.
  const SERIES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A5C00", "#56B4E9", "#E69F00", "#9aa1a9"];
  const recoloured = (figure, traces) => {
    const knob = figure.dataset.colour;
    if (!knob) return traces;
    const options = data.families[knob];
    const colour = (n) => {
      const value = (byNumber.get(n) || { params: {} }).params[knob];
      return colours[value === undefined ? "#9aa1a9" : SERIES[options.indexOf(String(value)) % SERIES.length] || "#9aa1a9"];
    };
    const points = traces.map((trace) => (Array.isArray(trace.customdata) && trace.marker
      ? { ...trace, showlegend: false, marker: { ...trace.marker, color: trace.customdata.map(colour) } } : trace));
    const key = options.map((option, i) => ({ x: [null], y: [null], mode: "markers", name: `${knob} = ${option}`,
      marker: { color: colours[SERIES[i % SERIES.length]], size: 9 }, showlegend: true }));
    return [...points, ...key];
  };

  // Rings around the chosen net, in figures whose points are nets: one for each pair of axes.
  const rings = (figure) => {
    if (!("nets" in figure.dataset) || chosen === null) return [];
    const places = new Map();
    for (const trace of spec(figure).data) {
      const at = Array.isArray(trace.customdata) ? trace.customdata.indexOf(chosen) : -1;
      if (at >= 0 && (trace.mode || "").includes("markers")) places.set(trace.yaxis || "y", [trace.x[at], trace.y[at]]);
    }
    return [...places].map(([yaxis, [x, y]]) => ({
      x: [x], y: [y], yaxis, mode: "markers", hoverinfo: "skip", showlegend: false, name: "chosen",
      marker: { size: 22, symbol: "circle-open", color: colours["#D55E00"], line: { width: 3 } },
    }));
  };

  const figures = () => [...document.querySelectorAll("figure.plot")];
  const visible = (figure) => figure.offsetParent !== null && !figure.closest("details:not([open])");
  const redraw = () => figures().filter((f) => f.dataset.drawn && visible(f)).forEach(draw);
  const watcher = new IntersectionObserver(
    (entries) => entries.filter((e) => e.isIntersecting && !e.target.dataset.drawn)
      .forEach((e) => draw(e.target)),
    { rootMargin: "300px" },
  );

  const plot = (name, label, traces, layout) => {
    const axis = { gridcolor: "#e8eaed", linecolor: "#9aa1a9", zeroline: false, ticks: "outside" };
    const whole = {
      height: 300, margin: { l: 58, r: 14, t: 12, b: 48 }, hovermode: "closest",
      font: { family: "system-ui, sans-serif", color: "#1c2128" }, showlegend: false, ...layout,
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
      hoverlabel: { bgcolor: "white", font: { color: "#1c2128" }, align: "left" },
    };
    const figure = make("figure", { class: "plot", id: `figure-${name}`, role: "group", "aria-label": label },
      make("div", { class: "canvas", style: `height:${whole.height}px` }), make("script", { type: "application/json" }));
    specs.set(figure, { data: traces, layout: whole });
    return figure;
  };

  // ---- the chosen net ----

  const choose = (number, { scroll = false, focus = false } = {}) => {
    chosen = number;
    const panel = document.getElementById("chosen");
    if (!panel) return;
    panel.replaceChildren(...describe(byNumber.get(number)));
    panel.querySelectorAll("figure.plot").forEach((figure) => watcher.observe(figure));
    document.querySelectorAll("tr[data-net]").forEach((row) =>
      row.classList.toggle("chosen", Number(row.dataset.net) === number));
    figures().filter((f) => f.dataset.drawn && "nets" in f.dataset && visible(f)).forEach(draw);
    const status = document.getElementById("chosen-status");
    if (status) status.textContent = `Trial ${number} is chosen.`;
    if (scroll) panel.scrollIntoView({ block: "start" });
    if (focus) panel.querySelector("h3").focus();
  };

  // The net of the front that is nearest to the chosen one in the first objective.
  const nearest = () => {
    const value = (n) => ((byNumber.get(n) || {}).values || [0])[0];
    const apart = data.front.map((n) => Math.abs(value(n) - value(chosen)));
    return apart.indexOf(Math.min(...apart));
  };

  const step = (by) => {
    const at = data.front.indexOf(chosen);
    const next = at < 0 ? nearest() : Math.min(data.front.length - 1, Math.max(0, at + by));
    choose(data.front[next]);
  };

  const number = (value) => (typeof value === "number"
    ? (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)))) : String(value));
  const figureText = (value, digits = 1) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const range = ([low, high], digits = 1) => ` [${figureText(low, digits)}, ${figureText(high, digits)}]`;
  // An objective in its unit, and its interval, "" if that is not known.
  const valueText = (value, i) => figureText(value, data.digits[i]);
  const rangeText = (ends, i) => (ends[0] === ends[1] ? "" : range(ends, data.digits[i]));

  const describe = (trial) => {
    const place = data.front.indexOf(trial.n);
    const head = make("div", { class: "head" },
      make("h3", { tabindex: "-1" }, `Trial ${trial.n}: ${place < 0 ? trial.state + ", not on the front"
        : `net ${place + 1} of ${data.front.length} on the front`}`),
      make("span", { class: "controls screen" },
        make("button", { type: "button", onclick: () => step(-1), ...(place === 0 ? { disabled: "" } : {}) }, `← Better ${data.shortAims[0].toLowerCase()}`),
        make("button", { type: "button", onclick: () => step(1),
          ...(place === data.front.length - 1 ? { disabled: "" } : {}) }, `Better ${data.shortAims[1].toLowerCase()} →`)));
    return [head, ...marks(trial), facts(trial), ...curves(trial), ...examples(trial), ...commands(trial)];
  };

  const marks = (trial) => [
    ...(trial.roles ? [make("p", { class: "note" }, `Recommended as ${trial.roles.join(", ")}.`)] : []),
    ...(trial.marks || []).map(([name, text]) => make("p", {}, make("span", { class: "flag" }, name), `: ${text}.`)),
  ];

  const facts = (trial) => {
    const list = make("dl", { class: "facts" });
    const add = (name, value) => list.append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    const best = trial.final || trial;
    if (best.values) {
      best.values.forEach((value, i) => add(data.shortAims[i] + (trial.final ? ", mean of fresh seeds" : ""),
        make("span", {}, make("b", {}, valueText(value, i)), make("span", { class: "pm" }, rangeText(best.intervals[i], i)))));
    }
    if (trial.final) {
      add("Search score, which selected it", trial.values.map(valueText).join(" / "));
      add("Fresh seeds", String(trial.final.seeds));
    }
    if (trial.gap) add("Masking gap in the search (points)", `${figureText(trial.gap[0])}${range(trial.gap.slice(1))}${trial.flagged ? ", flagged" : ""}`);
    for (const [name, value] of Object.entries(trial.params)) add(name, number(value));
    if (trial.why) add("Reason", trial.why);
    if (trial.remarks) add("Remarks", trial.remarks.join("; "));
    return list;
  };

  const bars = (rows) => ({
    type: "data", symmetric: false, thickness: 1, width: 3,
    array: rows.map((row) => Math.max(0, row[3] - row[1])), arrayminus: rows.map((row) => Math.max(0, row[1] - row[2])),
  });
  const asRadius = (eps) => (Math.abs(255 * eps - Math.round(255 * eps)) < 1e-3 && eps ? `${Math.round(255 * eps)}/255` : String(eps));

  const curves = (trial) => {
    const box = make("div", { class: "columns" });
    if (trial.curve) box.append(make("div", {}, make("h4", {}, "Robustness curve"), robustness(trial),
      make("p", { class: "note" }, `Measured in ${trial.source || "the search"}. Thin lines are the other nets of the front.`)));
    if (trial.epochs) box.append(make("div", {}, make("h4", {}, "Training curves"), training(trial),
      make("p", { class: "note" }, "Validation images, under a quick attack. The diamond is the epoch that was kept; a fall after it is robust overfitting.")));
    return box.children.length ? [box] : [make("p", { class: "none" }, "No curve was recorded.")];
  };

  const robustness = (trial) => {
    const others = data.front.map((n) => byNumber.get(n)).filter((t) => t && t.n !== trial.n && t.curve);
    const traces = others.map((t) => ({ x: t.curve.map((r) => r[0]), y: t.curve.map((r) => r[1]), mode: "lines",
      line: { color: "#d5d9de", width: 1.5 }, hovertemplate: `trial ${t.n}<extra></extra>` }));
    traces.push({ x: trial.curve.map((r) => r[0]), y: trial.curve.map((r) => r[1]), error_y: bars(trial.curve), mode: "lines+markers",
      line: { color: "#0072B2", width: 2.5 }, marker: { size: 7 },
      hovertemplate: `trial ${trial.n}, eps %{x:.4g}: %{y:.1f} %<extra></extra>` });
    const ticks = trial.curve.map((r) => r[0]);
    const pixels = ticks.every((eps) => Math.abs(255 * eps - Math.round(255 * eps)) < 1e-3);
    const ends = [trial, ...others].flatMap((t) => t.curve.flatMap((r) => [r[2], r[3]]));
    if (data.chance) ends.push(data.chance - 2, data.chance + 2);
    const layout = {
      xaxis: { title: { text: "Attack strength eps (0: no attack)" }, ...(pixels ? { tickvals: ticks, ticktext: ticks.map(asRadius) } : {}) },
      yaxis: { title: { text: "Accuracy (%)" }, range: [Math.max(0, Math.min(...ends) - 2), Math.min(101, Math.max(...ends) + 2)] },
    };
    if (data.chance) {
      layout.shapes = [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: data.chance, y1: data.chance, line: { color: "#9aa1a9", dash: "dash", width: 1 } }];
      layout.annotations = [{ text: "chance", xref: "paper", x: 0.01, y: data.chance, yanchor: "bottom", xanchor: "left", showarrow: false, font: { color: "#5b6570", size: 12 } }];
    }
    return plot("chosen-curve", `Line: accuracy of trial ${trial.n} against attack strength`, traces, layout);
  };

  const training = (trial) => {
    const line = (column, name, colour, dash) => ({ x: trial.epochs.map((r) => r[0]), y: trial.epochs.map((r) => r[column]), name,
      mode: trial.epochs.length > 1 ? "lines" : "markers", line: { color: colour, width: 2, dash }, marker: { color: colour },
      hovertemplate: `${name}, epoch %{x}: %{y:.1f} %<extra></extra>` });
    const traces = [line(1, "natural", "#0072B2", "solid"), line(2, "under attack", "#D55E00", "dash")];
    const kept = trial.epochs.find((row) => row[0] === trial.kept);
    if (kept) traces.push({ x: [kept[0], kept[0]], y: [kept[1], kept[2]], mode: "markers", name: "kept epoch",
      marker: { symbol: "diamond", size: 11, color: "#1c2128" }, hovertemplate: "kept: epoch %{x}<extra></extra>" });
    const shapes = (trial.over || []).map((epoch) => ({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: epoch - 0.5, x1: epoch + 0.5,
      fillcolor: "#D55E00", opacity: 0.15, line: { width: 0 } }));
    return plot("chosen-training", `Lines: validation accuracy of trial ${trial.n} by epoch`, traces,
      { shapes, showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, margin: { l: 58, r: 14, t: 34, b: 48 },
        xaxis: { title: { text: "Epoch" } }, yaxis: { title: { text: "Accuracy (%)" } } });
  };

  const examples = (trial) => {
    const found = trial.examples;
    if (!found) {
      const why = onFront.has(trial.n) ? "This run has stored no images and predictions of this net: it is older than they are, or its files are elsewhere."
        : "Images, classes and confusions are kept on this page for the nets of the front.";
      return [make("h4", {}, "Test images and classes"), make("p", { class: "none" }, why)];
    }
    const split = `${found.split} images`;
    const pictures = found.shown.map((one) => make("div", { class: "picture" },
      make("div", {}, make("img", { src: one.image, alt: `an image of ${one.label}` }),
        make("img", { src: one.change, alt: "its perturbation, ten times enlarged" }),
        make("img", { src: one.attacked, alt: `the attacked image, predicted ${one.after}` })),
      make("p", {}, make("b", {}, one.label), one.before === one.label ? " ✓ " : ` taken for ${one.before} ✗ `,
        one.before !== one.label ? "without an attack" : one.after === one.label ? "stands up to the attack ✓" : `under attack ${one.after} ✗`)));
    return [
      make("h4", {}, `${split[0].toUpperCase()}${split.slice(1)}, their perturbations and predictions`),
      make("p", { class: "note" }, `Image, perturbation times ten (grey is none), attacked image: ${found.attack}, ten steps. An image that is wrong already is not attacked.`),
      make("div", { class: "pictures" }, ...pictures),
      make("div", { class: "columns" }, classTable(found, trial), confusionBox(found)),
    ];
  };

  const meter = (value, kind) => make("span", { class: `meter ${kind}`, "aria-hidden": "true" }, make("i", { style: `width:${value}%` }));
  const boxed = (label, table) => make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, table);
  const classTable = (found, trial) => {
    const attacked = found.rows.some((row) => row[3] !== null);
    const heads = ["Class", "Images", "Natural (%)", ...(attacked ? ["Attacked (%)"] : [])];
    const rows = found.rows.map(([name, n, natural, under]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, String(n)),
      make("td", {}, figureText(natural), meter(natural, "")), ...(attacked ? [make("td", {}, figureText(under), meter(under, "attacked"))] : [])));
    const label = `Accuracy by class, ${found.images} ${found.split} images`;
    return make("div", {}, make("h4", {}, "Accuracy by class"), boxed(label, make("table", {}, make("caption", {}, label),
      make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", { scope: "col" }, h)))), make("tbody", {}, ...rows))),
      make("p", { class: "note" }, `${found.images} ${found.split} images${attacked ? "; attacked by the battery that scored it, at " + found.attack.split(", ")[1] : ""}.`));
  };

  const confusionBox = (found) => {
    const body = make("div");
    const show = (kind) => body.replaceChildren(confusion(found, kind));
    const picker = make("select", { "aria-label": "Which confusions" }, make("option", { value: "natural" }, "without an attack"),
      make("option", { value: "attacked" }, "under attack"));
    picker.addEventListener("change", () => show(picker.value));
    show("natural");
    return make("div", {}, make("h4", {}, "Confusions"), make("div", { class: "controls" }, picker), body);
  };

  const confusion = (found, kind) => {
    const counts = found[kind];
    const n = kind === "natural" ? found.images : found.attackedImages;
    const label = `What ${n} ${found.split} images are taken for, ${kind === "natural" ? "without an attack" : "under " + found.attack}`;
    if (found.classes.length > counts.length || counts.some((row) => typeof row[0] === "string")) return pairs(counts, label);
    const top = Math.max(1, ...counts.flat());
    const rows = counts.map((row, i) => make("tr", {}, make("th", { scope: "row" }, found.classes[i]), ...row.map((count, j) => {
      const share = count / top;
      const style = count ? `background:rgba(var(--shade),${(0.1 + 0.4 * share).toFixed(2)})` : null;
      return make("td", { style, class: i === j ? "right" : null }, count ? String(count) : "·");
    })));
    return make("div", {}, boxed(label, make("table", { class: "confusion" }, make("caption", {}, label),
      make("thead", {}, make("tr", {}, make("td", {}, "is \\ taken for"), ...found.classes.map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows))), make("p", { class: "note" }, label + "."));
  };
  const pairs = (counts, label) => make("div", {}, boxed(label, make("table", {}, make("caption", {}, label),
    make("thead", {}, make("tr", {}, ...["Class", "Taken for", "Images"].map((h) => make("th", { scope: "col" }, h)))),
    make("tbody", {}, ...counts.map(([is, as, n]) => make("tr", {}, make("th", { scope: "row" }, is), make("td", {}, as), make("td", {}, String(n))))))),
    make("p", { class: "note" }, label + ": the most frequent mistakes."));

  const commands = (trial) => {
    if (!trial.file) return [];
    return [make("h4", {}, "Commands"), ...data.commands.flatMap(([what, command]) =>
      [make("div", {}, what), commandLine(command.replace("{file}", trial.file))])];
  };
  const commandLine = (text) => make("div", { class: "command" }, make("pre", {}, make("code", {}, text)), copyButton(() => text));
  const copyButton = (read) => {
    const button = make("button", { type: "button", class: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(read()); button.textContent = "Copied"; }
      catch { const range = document.createRange(); range.selectNodeContents(button.parentElement.querySelector("code"));
        const selection = getSelection(); selection.removeAllRanges(); selection.addRange(range); button.textContent = "Selected"; }
    });
    return button;
  };

  // ---- the table of all trials ----

  const PAGE_ROWS = 50;
  const columns = () => [
    ["Trial", (t) => t.n],
    ["State", (t) => t.state + (onFront.has(t.n) ? ", front" : "")],
    ...data.shortAims.map((name, i) => [name, (t) => (t.values ? t.values[i] : null), (t) => (t.values ? valueText(t.values[i], i) + rangeText(t.intervals[i], i) : "–")]),
    ["Masking gap", (t) => (t.gap ? t.gap[0] : null), (t) => (t.gap ? figureText(t.gap[0]) + (t.flagged ? " flagged" : "") : "–")],
    ...data.knobs.map((name) => [name, (t) => (typeof t.params[name] === "boolean" ? String(t.params[name]) : t.params[name] ?? null)]),
    ["Seconds", (t) => t.seconds],
    ["Proposed by", (t) => t.origin],
    ["Remarks", (t) => [...(t.marks || []).map(([name]) => name), ...(t.remarks || []), t.why].filter(Boolean).join("; ")],
  ];
  const COMPARE = { "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
  const condition = (word, all) => {
    const found = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/);
    const column = found && all.find(([name]) => name.toLowerCase().replaceAll(" ", "-") === found[1].toLowerCase());
    if (!column) return (trial) => all.some(([, value, text]) => String(text ? text(trial) : value(trial) ?? "").toLowerCase().includes(word.toLowerCase()));
    return (trial) => {
      const value = column[1](trial);
      if (value === null || value === undefined) return false;
      const given = typeof value === "number" ? Number(found[3]) : found[3].toLowerCase();
      return COMPARE[found[2]](typeof value === "number" ? value : String(value).toLowerCase(), given);
    };
  };

  const trialsTable = (box) => {
    const all = columns();
    const state = { by: 0, down: false, limit: PAGE_ROWS };
    const head = make("tr");
    const body = make("tbody");
    const note = make("p", { class: "note", role: "status" });
    const more = make("button", { type: "button", class: "screen" }, "Show more");
    const search = box.querySelector("input");
    const which = box.querySelector("select");
    all.forEach(([name], i) => head.append(make("th", { scope: "col" }, make("button", { type: "button", class: "sort",
      onclick: () => { state.down = state.by === i ? !state.down : false; state.by = i; show(); } }, name))));
    const rows = () => {
      const words = search.value.trim().split(/\s+/).filter(Boolean).map((word) => condition(word, all));
      const kept = data.trials.filter((t) => words.every((fits) => fits(t)) && (which.value === "all" || which.value === t.state
        || (which.value === "front" && onFront.has(t.n)) || (which.value === "flagged" && (t.flagged || (t.marks || []).length))));
      const value = all[state.by][1];
      const sign = state.down ? -1 : 1;
      return kept.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === y) return a.n - b.n;
        if (x === null || x === undefined || x === "") return 1;
        if (y === null || y === undefined || y === "") return -1;
        return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
      });
    };
    const show = () => {
      const kept = rows();
      [...head.children].forEach((th, i) => th.setAttribute("aria-sort", i !== state.by ? "none" : state.down ? "descending" : "ascending"));
      [...head.children].forEach((th, i) => { th.firstChild.textContent = all[i][0] + (i !== state.by ? "" : state.down ? " ↓" : " ↑"); });
      body.replaceChildren(...kept.slice(0, state.limit).map((trial) => make("tr", { "data-net": trial.n, class: trial.n === chosen ? "chosen" : null },
        ...all.map(([, value, text], i) => (i === 0
          ? make("th", { scope: "row" }, make("button", { type: "button", class: "link", onclick: () => choose(trial.n, { scroll: true, focus: true }) }, String(trial.n)))
          : make("td", {}, text ? text(trial) : value(trial) === null || value(trial) === undefined || value(trial) === "" ? "–" : number(value(trial))))))));
      note.textContent = `${Math.min(state.limit, kept.length)} of ${kept.length} trials shown${kept.length < data.trials.length ? `, ${data.trials.length} in all` : ""}.`;
      more.hidden = kept.length <= state.limit;
    };
    more.addEventListener("click", () => { state.limit += 200; show(); });
    for (const kind of ["input", "change"]) search.addEventListener(kind, () => { state.limit = PAGE_ROWS; show(); });
    which.addEventListener("change", () => { state.limit = PAGE_ROWS; show(); });
    box.append(boxed("All trials", make("table", {}, make("caption", {}, "All trials"), make("thead", {}, head), body)), note, more);
    show();
  };

  // ---- start ----

  const refit = () => { readColours(); redraw(); };
  let waiting = 0;
  const later = () => { clearTimeout(waiting); waiting = setTimeout(refit, 120); };
  const start = () => {
    readColours();
    figures().forEach((figure) => watcher.observe(figure));
    document.querySelectorAll("[data-choose]").forEach((button) =>
      button.addEventListener("click", () => choose(Number(button.dataset.choose), { scroll: "jump" in button.dataset, focus: "jump" in button.dataset })));
    document.querySelectorAll(".command:not(.made)").forEach((line) => {
      line.classList.add("made");
      line.append(copyButton(() => line.querySelector("code").textContent));
    });
    const front = document.getElementById("figure-front");
    if (front && data.front.length) front.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -data.front.length, End: data.front.length }[event.key];
      if (by) { event.preventDefault(); step(by); }
      if (event.key === "Enter") { event.preventDefault(); document.getElementById("chosen").scrollIntoView({ block: "start" });
        document.querySelector("#chosen h3").focus(); }
    });
    document.querySelectorAll("select[data-colours]").forEach((picker) => picker.addEventListener("change", () => {
      const figure = document.getElementById(picker.dataset.colours);
      figure.dataset.colour = picker.value;
      draw(figure);
    }));
    const table = document.getElementById("all-trials");
    if (table) trialsTable(table);
    document.querySelectorAll("details").forEach((fold) => fold.addEventListener("toggle", () => {
      if (fold.open) fold.querySelectorAll("figure.plot").forEach((figure) => draw(figure)); }));
    if (data.front.length) choose(data.begin ?? data.front[0]);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refit);
    const print = (on) => {
      if (printing === on) return;
      printing = on;
      document.documentElement.classList.toggle("printing", on);
      if (on) document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
      readColours();
      figures().filter((figure) => on ? visible(figure) : figure.dataset.drawn).forEach(draw);
    };
    addEventListener("beforeprint", () => print(true));
    addEventListener("afterprint", () => print(false));
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; later(); } });
  };
  start();
})();
