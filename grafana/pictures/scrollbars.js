// The scroll bars of Grafana's tables, as their default export: bundled for a browser, a package of the old kind is handed on as a whole to
// modules that expect that.

export { Scrollbars as default } from 'react-custom-scrollbars-2/lib/index.js';
