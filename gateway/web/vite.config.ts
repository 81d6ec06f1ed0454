// How the pages are built: two entries, names that stay (the gateway gives every file an ETag), nothing inline.

import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

import { officialClient } from './official-client.ts';

/** The node that the development server stands in front of. */
const node = process.env['NODE_URL'] ?? 'http://127.0.0.1:3000';
/** Its admin listener, for the console. */
const admin = process.env['ADMIN_URL'] ?? 'http://127.0.0.1:9100';

export default defineConfig({
  base: './',
  plugins: [react(), officialClient('dist/socket.io')],
  build: {
    outDir: 'dist/site',
    emptyOutDir: true,
    target: 'es2022',
    // The policy of the pages allows no inline script and no data: URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { app: 'index.html', console: 'console/index.html' },
      output: {
        entryFileNames: 'assets/[name].js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/[name][extname]',
      },
    },
  },
  experimental: {
    // Each page is served with all files beside it: the app at `/`, the console at `/console/` of another listener.
    renderBuiltUrl: (filename, { hostType }) => (hostType === 'html' ? filename : { relative: true }),
  },
  server: {
    proxy: {
      '/socket.io': { target: node, ws: true },
      '/api': node,
      '/admin': admin,
      '/console/api': admin,
      '/hooks': admin,
      '/metrics': admin,
      // The operators' namespace is on the other listener, at the same path.
      '/console/socket.io': { target: admin, ws: true, rewrite: (path) => path.replace('/console', '') },
    },
  },
  test: {
    include: ['src/**/*.test.ts'],
  },
});
