import { defineConfig } from "vite";

export default defineConfig({
  // Relative addresses: the server may be mounted under a path prefix.
  base: "./",
  build: {
    outDir: "../src/roomful/page",
    emptyOutDir: true,
    chunkSizeWarningLimit: 2000,
  },
});
