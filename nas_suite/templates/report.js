"use strict";
(() => {
  const coarse = matchMedia("(pointer: coarse)").matches;
  const config = { responsive: true, displayModeBar: false };

  /* Names of colours, such as @blue, become what the page's style says they are in this light. */
  const painted = (value, style) => {
    if (typeof value === "string" && value.startsWith("@")) return style.getPropertyValue(`--${value.slice(1)}`).trim();
    if (Array.isArray(value)) return value.map((part) => painted(part, style));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v, style)]));
    return value;
  };
  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const family = getComputedStyle(document.body).fontFamily;
    for (const figure of document.querySelectorAll(".chart")) {
      const { data, layout } = painted(JSON.parse(figure.querySelector("script").textContent), style);
      figure.classList.add("drawn");
      layout.font.family = layout.hoverlabel.font.family = family;
      if (innerWidth < 560) data.forEach((trace) => { trace.mode = trace.mode?.replace("+text", ""); }); /* the legend names them */
      layout.dragmode = coarse ? false : "zoom"; /* a finger scrolls the page */
      Plotly.react(figure.querySelector(".live"), data, layout, config);
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }
})();
