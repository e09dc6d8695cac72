#pragma once

namespace shoal {

// Ctrl-C, SIGTERM and SIGUSR1 ask a run to stop: the first one sets a flag that the trainer reads
// between micro-batches, the second one ends the process at once with 128 + its number.
void watch_signals();
int signal_received();  // its number, or 0

}  // namespace shoal
