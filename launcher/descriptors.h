/* What the program inherits of our descriptors. */
#pragma once

/* All from `least` on are closed when the program is executed. */
void descriptors_close_from(int least);
