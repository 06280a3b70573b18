// What the page knows of the trials, and how to make elements. Text of users is set as text only.

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
