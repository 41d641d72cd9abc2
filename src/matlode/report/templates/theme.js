"use strict";
// before anything is drawn, so that the page does not flash
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.documentElement.classList.toggle("dark", theme === "dark"); // for the table
}
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
