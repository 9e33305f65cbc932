/**
 * Builds the web interface into its folder dist. Guarantees: every script and style is a file of its own, so that the strict
 * content security policy of the server needs no exception; names carry a hash of the content. In development the API
 * comes from the address in GP_API (`npm run dev:ui` sets it).
 */
import { resolve } from 'node:path';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const API = process.env['GP_API'] ?? 'http://127.0.0.1:7450';
/** The name by which the browser knows the server stays: the API refuses requests of foreign origins. */
const proxy = { '/v1': { target: API, changeOrigin: false, ws: true } };

export default defineConfig({
  root: import.meta.dirname,
  plugins: [react()],
  build: {
    target: 'es2023',
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: {
        main: resolve(import.meta.dirname, 'index.html'),
        console: resolve(import.meta.dirname, 'console.html'),
      },
    },
  },
  worker: { format: 'es' },
  server: {
    host: '127.0.0.1',
    fs: { allow: [resolve(import.meta.dirname, '..')] },
    proxy,
  },
  preview: { host: '127.0.0.1', proxy },
});
