#pragma once

// The readers call no library that uses OpenMP; src/core/thread_pool.cpp names this one function.
inline void omp_set_num_threads(int /*threads*/) {}
