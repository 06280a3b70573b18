// Start: connect what is on the page, and redraw where colours or sizes change.

const refit = () => {
  readColours();
  redraw();
};
let waiting = 0;
const later = () => {
  clearTimeout(waiting);
  waiting = setTimeout(refit, 120);
};
const start = () => {
  readColours();
  figures().forEach((figure) => watcher.observe(figure));
  document.querySelectorAll("[data-choose]").forEach((button) =>
    button.addEventListener("click", () =>
      choose(Number(button.dataset.choose), {
        scroll: "jump" in button.dataset,
        focus: "jump" in button.dataset,
      }),
    ),
  );
  document.querySelectorAll(".command:not(.made)").forEach((line) => {
    line.classList.add("made");
    line.append(copyButton(() => line.querySelector("code").textContent));
  });
  const front = document.getElementById("figure-front");
  if (front && data.front.length)
    front.addEventListener("keydown", (event) => {
      const by = {
        ArrowRight: 1,
        ArrowDown: 1,
        ArrowLeft: -1,
        ArrowUp: -1,
        Home: -data.front.length,
        End: data.front.length,
      }[event.key];
      if (by) {
        event.preventDefault();
        step(by);
      }
      if (event.key === "Enter") {
        event.preventDefault();
        document.getElementById("chosen").scrollIntoView({ block: "start" });
        document.querySelector("#chosen h3").focus();
      }
    });
  document.querySelectorAll("select[data-colours]").forEach((picker) =>
    picker.addEventListener("change", () => {
      const figure = document.getElementById(picker.dataset.colours);
      figure.dataset.colour = picker.value;
      draw(figure);
    }),
  );
  const table = document.getElementById("all-trials");
  if (table) trialsTable(table);
  document.querySelectorAll("details").forEach((fold) =>
    fold.addEventListener("toggle", () => {
      if (fold.open) fold.querySelectorAll("figure.plot").forEach((figure) => draw(figure));
    }),
  );
  if (data.front.length) choose(data.begin ?? data.front[0]);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refit);
  const print = (on) => {
    if (printing === on) return;
    printing = on;
    document.documentElement.classList.toggle("printing", on);
    if (on)
      document.querySelectorAll("details").forEach((fold) => {
        fold.open = true;
      });
    readColours();
    figures()
      .filter((figure) => (on ? visible(figure) : figure.dataset.drawn))
      .forEach(draw);
  };
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      later();
    }
  });
};
start();
