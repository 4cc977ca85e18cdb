/** Loaded before the program: a fault that nothing catches, at SIGUSR2. */
Deno.addSignalListener("SIGUSR2", () => {
  throw new Error("a fault of a test");
});
