#pragma once

namespace shoal::testing {

long heap_calls();  // of operator new, by all threads, since the program began

}  // namespace shoal::testing
