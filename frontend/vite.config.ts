import {readFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import react from '@vitejs/plugin-react';
import {defineConfig} from 'vite';

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const assets = file('../mnist_course/assets');

const settings = {  // the library's constants and sentences, for the modules in assets
  name: 'settings',
  transformIndexHtml: (html: string) =>
    html.replace('id="settings">{}', () => `id="settings">${readFileSync(file('settings.json'), 'utf8')}`),
};

export default defineConfig({
  base: './',  // it works in any folder of a site
  plugins: [react(), settings],
  resolve: {alias: {'@assets': assets}},
  server: {fs: {allow: ['.', assets]}, proxy: {'/api': 'http://127.0.0.1:8000'}},
});
