"use strict";
(() => {
  const { region, slices } = JSON.parse(document.getElementById("series-data").textContent);
  const byId = (id) => document.getElementById(id);
  const viewer = byId("viewer"), stage = byId("stage"), shown = byId("shown"), slider = byId("slider");
  const roiOn = byId("roi-on");
  const layer = (name) => new Map(
    [...stage.querySelectorAll(`[data-${name}]`)].map((path) => [Number(path.dataset[name]), path]));
  const paths = layer("number"), nodules = layer("nodule");
  const draw = (path, outline) => {
    path.setAttribute("d", outline.d);
    path.setAttribute("transform", `translate(${outline.x} ${outline.y})`);
  };

  // Slices with a region stand in the gallery; each picture is in the page once.
  const pictures = slices.map((slice) => {
    if (!slice.uri) return document.querySelector(`img[data-slice="${slice.index}"]`);
    const picture = new Image();
    picture.src = slice.uri;
    return picture;
  });

  function show(index) {
    const slice = slices[Math.min(slices.length - 1, Math.max(0, index))];
    slider.value = slice.index;
    shown.src = pictures[slice.index].src;
    for (const path of [...paths.values(), ...nodules.values()]) path.setAttribute("d", "");
    for (const roi of slice.rois) {
      draw(paths.get(roi.number), roi.path);
      draw(nodules.get(roi.number), roi.nodule);
    }
    const instance = slice.instance === null ? "" : `, instance ${slice.instance}`;
    const numbers = slice.rois.map((roi) => roi.number).join(", ");
    const rois = numbers ? `${region} of nodule ${numbers}` : `no ${region}`;
    byId("where").textContent = `Slice ${slice.index}${instance}`;
    byId("where-roi").textContent = `${slice.position} · ${rois}`;
    slider.setAttribute("aria-valuetext", `slice ${slice.index}${instance}, ${rois}`);
    shown.alt = `CT slice ${slice.index}${instance}, ${rois}`;
  }

  const step = (by) => show(Number(slider.value) + by);
  const setRoi = (on) => { roiOn.checked = on; viewer.dataset.roi = on ? "on" : "off"; };
  const setWindow = (name) => {
    viewer.dataset.window = name;
    viewer.querySelector(`input[name="window"][value="${name}"]`).checked = true;
  };

  slider.addEventListener("input", () => show(Number(slider.value)));
  let turned = 0;
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    // A mouse's wheel turns by about 100 at once, a touchpad by a few pixels.
    turned += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY / 50 : event.deltaY;
    const by = Math.trunc(turned);
    if (!by) return;
    turned = 0;
    step(-Math.sign(by));
  }, { passive: false });
  roiOn?.addEventListener("change", () => setRoi(roiOn.checked));
  for (const radio of viewer.querySelectorAll('input[name="window"]')) {
    radio.addEventListener("change", () => setWindow(radio.value));
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=range], input[type=radio]")
        && event.key.startsWith("Arrow")) return;
    const inView = viewer.contains(document.activeElement) || stage.matches(":hover");
    const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (by && inView && event.target !== slider) {
      event.preventDefault();
      step(by);
    } else if (event.key.toLowerCase() === "r" && roiOn) {
      setRoi(!roiOn.checked);
    } else if (event.key.toLowerCase() === "w") {
      setWindow(viewer.dataset.window === "lung" ? "soft" : "lung");
    }
  });

  document.addEventListener("click", (event) => {
    const from = event.target.closest("[data-jump]");
    if (!from || event.target.closest("details")) return;
    show(Number(from.dataset.jump));
    viewer.scrollIntoView({ block: "nearest" });
    slider.focus({ preventScroll: true });
  });

  show(Number(slider.value));
})();
