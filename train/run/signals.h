#pragma once

namespace shoal {

// Ctrl-C, SIGTERM and SIGUSR1 ask a run to stop: the first one sets a flag that the trainer reads
// between micro-batches, the second one ends the process at once with 128 + its number.
void watch_signals();
int signal_received();  // its number, or 0
// A closed pipe behind stderr must not end a run: its messages are lost, and that is all.
void ignore_broken_pipes();

}  // namespace shoal
