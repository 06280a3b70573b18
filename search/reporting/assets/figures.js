// The figures: drawn when they come into view, in the colours of the style sheet.

// Colours as the figures are written, and the variables of the style sheet that they become.
const TOKENS = {
  "#1c2128": "--ink",
  "#000000": "--ink",
  "#9aa1a9": "--grey",
  "#e8eaed": "--grid",
  "#d5d9de": "--bar",
  "#5b6570": "--muted",
  white: "--card",
  "#0072B2": "--blue",
  "#D55E00": "--orange",
  "#009E73": "--green",
  "#CC79A7": "--purple",
  "#7A5C00": "--brown",
  "#56B4E9": "--sky",
  "#E69F00": "--yellow",
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
  displaylogo: false,
  responsive: false,
  showSendToCloud: false,
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d"],
  doubleClick: "reset+autosize",
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
    if (ticks && ticks.length > 4 && !(layout.meta || {}).width) {
      // every second one has room
      const texts = shown.xaxis.ticktext || ticks;
      shown.xaxis = {
        ...shown.xaxis,
        tickvals: ticks.filter((_, i) => i % 2 === 0),
        ticktext: texts.filter((_, i) => i % 2 === 0),
      };
    }
    shown.margin = { ...shown.margin, l: Math.min(52, shown.margin.l || 52), r: 8 };
    shown.yaxis = { ...shown.yaxis, automargin: true };
    const names = traces.filter((trace) => trace.name && trace.showlegend !== false).length;
    if (names > 1 && !(shown.legend || {}).orientation) {
      // beside the plot there is no room
      shown.legend = { ...shown.legend, orientation: "h", y: 1.02, yanchor: "bottom" };
      shown.height = (shown.height || 400) + 12 * names;
    }
    for (const axis of Object.keys(shown).filter((key) => /^[xy]axis/.test(key))) {
      const title = shown[axis].title;
      if (title && title.text) {
        shown[axis] = {
          ...shown[axis],
          nticks: 5,
          automargin: true,
          title: { ...title, text: wrap(title.text, width) },
        };
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

// Text of a user, which Plotly would take for HTML.
const escaped = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// Points in the colours of a hyperparameter's options, in place of those of front and flags.
const SERIES = [
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#7A5C00",
  "#56B4E9",
  "#E69F00",
  "#9aa1a9",
];
const recoloured = (figure, traces) => {
  const knob = figure.dataset.colour;
  if (!knob) return traces;
  const options = data.families[knob];
  const colour = (n) => {
    const value = (byNumber.get(n) || { params: {} }).params[knob];
    return colours[
      value === undefined
        ? "#9aa1a9"
        : SERIES[options.indexOf(String(value)) % SERIES.length] || "#9aa1a9"
    ];
  };
  const points = traces.map((trace) =>
    Array.isArray(trace.customdata) && trace.marker
      ? {
          ...trace,
          showlegend: false,
          marker: { ...trace.marker, color: trace.customdata.map(colour) },
        }
      : trace,
  );
  const key = options.map((option, i) => ({
    x: [null],
    y: [null],
    mode: "markers",
    name: escaped(`${knob} = ${option}`),
    marker: { color: colours[SERIES[i % SERIES.length]], size: 9 },
    showlegend: true,
  }));
  return [...points, ...key];
};

// Rings around the chosen net, in figures whose points are nets: one for each pair of axes.
const rings = (figure) => {
  if (!("nets" in figure.dataset) || chosen === null) return [];
  const places = new Map();
  for (const trace of spec(figure).data) {
    const at = Array.isArray(trace.customdata) ? trace.customdata.indexOf(chosen) : -1;
    if (at >= 0 && (trace.mode || "").includes("markers"))
      places.set(trace.yaxis || "y", [trace.x[at], trace.y[at]]);
  }
  return [...places].map(([yaxis, [x, y]]) => ({
    x: [x],
    y: [y],
    yaxis,
    mode: "markers",
    hoverinfo: "skip",
    showlegend: false,
    name: "chosen",
    marker: { size: 22, symbol: "circle-open", color: colours["#D55E00"], line: { width: 3 } },
  }));
};

const figures = () => [...document.querySelectorAll("figure.plot")];
const visible = (figure) => figure.offsetParent !== null && !figure.closest("details:not([open])");
const redraw = () =>
  figures()
    .filter((f) => f.dataset.drawn && visible(f))
    .forEach(draw);
const watcher = new IntersectionObserver(
  (entries) =>
    entries
      .filter((e) => e.isIntersecting && !e.target.dataset.drawn)
      .forEach((e) => draw(e.target)),
  { rootMargin: "300px" },
);

const plot = (name, label, traces, layout) => {
  const axis = { gridcolor: "#e8eaed", linecolor: "#9aa1a9", zeroline: false, ticks: "outside" };
  const whole = {
    height: 300,
    margin: { l: 58, r: 14, t: 12, b: 48 },
    hovermode: "closest",
    font: { family: "system-ui, sans-serif", color: "#1c2128" },
    showlegend: false,
    ...layout,
    xaxis: { ...axis, ...layout.xaxis },
    yaxis: { ...axis, ...layout.yaxis },
    hoverlabel: { bgcolor: "white", font: { color: "#1c2128" }, align: "left" },
  };
  const figure = make(
    "figure",
    { class: "plot", id: `figure-${name}`, role: "group", "aria-label": label },
    make("div", { class: "canvas", style: `height:${whole.height}px` }),
    make("script", { type: "application/json" }),
  );
  specs.set(figure, { data: traces, layout: whole });
  return figure;
};
