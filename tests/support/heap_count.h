#pragma once

namespace shoal::testing {

long heap_calls();       // of operator new, by all threads, since the program began
bool heap_is_counted();  // not under a sanitizer

}  // namespace shoal::testing
