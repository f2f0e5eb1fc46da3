// Draws a Plotly figure and redraws it in place. Streamlit's own chart element is made anew whenever its data change:
// on a page that refreshes every two seconds it would blink, and forget where the viewer zoomed to.
let library; // one download and one parse for all plots of a visit

function load(url) {
  library ??= new Promise((resolve, reject) => {
    if (window.Plotly) return resolve(window.Plotly);
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      library = undefined; // the next refresh tries again
      reject(new Error(`cannot load ${url}`));
    };
    document.head.append(script);
  });
  return library;
}

// The page's theme, as Streamlit hands it to components.
function themed(layout, box) {
  const style = getComputedStyle(box);
  const theme = (name) => style.getPropertyValue(`--st-${name}`).trim();
  const line = theme("border-color");
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true };
  return {
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: theme("font"), color: theme("text-color"), size: 13 },
    hoverlabel: { bgcolor: theme("background-color"), bordercolor: line, font: { color: theme("text-color") } },
    ...Object.fromEntries(
      Object.keys({ xaxis: 0, yaxis: 0, ...layout })
        .filter((name) => /^[xy]axis\d*$/.test(name))
        .map((name) => [name, { ...axis, ...layout[name] }]),
    ),
  };
}

function draw(box) {
  if (!box.wattline || !box.isConnected || !box.clientWidth) return;
  const { figure, config } = box.wattline;
  window.Plotly.react(box, figure.data, { ...themed(figure.layout, box), width: box.clientWidth }, config);
}

export default function ({ data, parentElement }) {
  const box = parentElement.querySelector(".wattline-plot");
  box.setAttribute("aria-label", data.alt);
  box.style.height = `${data.height}px`;
  box.wattline = { figure: JSON.parse(data.figure), config: data.config };
  load(data.library).then(
    () => draw(box),
    (error) => (box.textContent = error.message),
  );
  const redraw = () => window.Plotly && draw(box);
  const resized = new ResizeObserver(redraw);
  resized.observe(box);
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  const later = () => setTimeout(redraw, 300); // when Streamlit has changed its colours
  scheme.addEventListener("change", later);
  return () => {
    resized.disconnect();
    scheme.removeEventListener("change", later);
    setTimeout(() => !box.isConnected && window.Plotly?.purge(box)); // gone, not merely given new data
  };
}
